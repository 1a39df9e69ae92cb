package local

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"runtime"
	"testing"
)

func TestFramesComeThroughAsTheyWereSent(t *testing.T) {
	large := bytes.Repeat([]byte("x"), chunkSize)
	b := appendFrame(nil, frameReady, nil)
	b = appendFrame(b, frameData, []byte("a"))
	b = appendFrame(b, frameData, large)
	b = appendFrame(b, frameAnswer, append(large, large...))
	r := bufio.NewReader(bytes.NewReader(b))
	for _, want := range []struct {
		t       frameType
		payload []byte
	}{{frameReady, nil}, {frameData, []byte("a")}, {frameData, large}, {frameAnswer, append(large, large...)}} {
		ft, size, err := readHeader(r)
		if err != nil || ft != want.t {
			t.Fatalf("header: got %d, %v, want %d", ft, err, want.t)
		}
		got, err := readPayload(r, size, nil)
		if err != nil || !bytes.Equal(got, want.payload) {
			t.Fatalf("payload: got %d bytes, %v, want %d", len(got), err, len(want.payload))
		}
	}
	if _, _, err := readHeader(r); !errors.Is(err, io.EOF) {
		t.Fatalf("behind the last frame: got %v", err)
	}
}

func TestFramesBeyondTheirLimitsAreRefused(t *testing.T) {
	for ft := range frameType(20) {
		b := make([]byte, headerSize)
		putHeader(b, ft, ft.limit()+1)
		if _, _, err := readHeader(bufio.NewReader(bytes.NewReader(b))); !errors.Is(err, errFrame) {
			t.Errorf("type %d: got %v, want it refused", ft, err)
		}
	}
}

func TestMemoryGrowsWithWhatComes(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := readPayload(bytes.NewReader(make([]byte, 100)), maxAnswer, nil)
	runtime.ReadMemStats(&after)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("a payload cut short: got %v", err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Fatalf("100 bytes of %d took %d bytes of memory", maxAnswer, n)
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(appendFrame(nil, frameBye, nil))
	f.Add(appendFrame(nil, frameData, []byte("abc")))
	f.Add(appendFrame(nil, frameHello, []byte(`{"protocol":1}`)))
	f.Add(appendFrame(nil, frameRequest, []byte(`{"call":"get","hash":"00","query":null}`)))
	f.Add(appendFrame(nil, frameError, []byte(`{"text":"x","is":["gone","?"],"refusal":{"class":"malformed"}}`)))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, byte(frameAnswer)})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bufio.NewReader(bytes.NewReader(b))
		for {
			ft, size, err := readHeader(r)
			if err != nil {
				return
			}
			if size > ft.limit() {
				t.Fatalf("type %d: %d bytes taken", ft, size)
			}
			payload, err := readPayload(r, size, nil)
			if err != nil {
				return
			}
			if len(payload) != size {
				t.Fatalf("got %d bytes of %d", len(payload), size)
			}
			var q request
			_ = decode(payload, &q)
			var h hello
			_ = decode(payload, &h)
			var w wireError
			if decode(payload, &w) == nil {
				_ = w.err().Error()
			}
		}
	})
}
