package local

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// frameType says what a frame carries. The numbers stand on the wire.
type frameType byte

const (
	frameHello frameType = 1 + iota
	frameRequest
	frameReady
	frameData
	frameEvent
	frameAnswer
	frameError
	frameBye
)

const (
	headerSize = 4 + 1
	// chunkSize is the most bytes of a body in one frame: few system calls for a large body, little memory for many calls.
	chunkSize = 128 << 10
	// maxAnswer is the most bytes of an answer: a page of 500 buckets, or the branches of a bucket with their manifests.
	maxAnswer = 64 << 20
)

// errFrame is returned for bytes that are no frame, or a frame that cannot come now.
var errFrame = errors.New("the other end does not keep to the protocol")

// limit is the most bytes of a payload; -1 for a type that does not exist.
func (t frameType) limit() int {
	switch t {
	case frameHello:
		return 64 << 10
	case frameRequest, frameEvent, frameError:
		return 1 << 20
	case frameData:
		return chunkSize
	case frameAnswer:
		return maxAnswer
	case frameReady, frameBye:
		return 0
	}
	return -1
}

// putHeader writes a frame's header to the front of b.
func putHeader(b []byte, t frameType, size int) {
	binary.BigEndian.PutUint32(b, uint32(size))
	b[4] = byte(t)
}

// appendFrame appends a frame to b.
func appendFrame(b []byte, t frameType, payload []byte) []byte {
	var h [headerSize]byte
	putHeader(h[:], t, len(payload))
	return append(append(b, h[:]...), payload...)
}

// appendJSON appends a frame whose payload is v to b.
func appendJSON(b []byte, t frameType, v any) ([]byte, error) {
	payload, err := json.Marshal(v)
	if err != nil {
		return b, err
	}
	if len(payload) > t.limit() {
		return b, fmt.Errorf("a frame of %d bytes; at most %d are allowed", len(payload), t.limit())
	}
	return appendFrame(b, t, payload), nil
}

// readHeader reads the header of a frame and holds it to its limit. A stream that ends before a frame is io.EOF.
func readHeader(r *bufio.Reader) (t frameType, size int, err error) {
	h, err := r.Peek(headerSize)
	if err != nil {
		if len(h) > 0 && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, 0, err
	}
	t, length := frameType(h[4]), binary.BigEndian.Uint32(h)
	if limit := t.limit(); limit < 0 || uint64(length) > uint64(limit) {
		return 0, 0, fmt.Errorf("%w: a frame of type %d and %d bytes", errFrame, t, length)
	}
	_, err = r.Discard(headerSize)
	return t, int(length), err
}

// growth is how much memory a payload gets before its bytes are there.
const growth = 64 << 10

// readPayload reads size bytes into buf, or into a larger slice that grows with the bytes that come.
func readPayload(r io.Reader, size int, buf []byte) ([]byte, error) {
	buf = buf[:0]
	for len(buf) < size {
		n := len(buf)
		room := max(cap(buf)-n, growth, n)
		buf = slices.Grow(buf, min(room, size-n))[:min(n+room, size)]
		if _, err := io.ReadFull(r, buf[n:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return buf, nil
}

// decode reads the JSON of a payload.
func decode(payload []byte, v any) error {
	if err := json.Unmarshal(payload, v); err != nil {
		return fmt.Errorf("%w: %w", errFrame, err)
	}
	return nil
}
