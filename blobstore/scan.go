package blobstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"headwater/bucket"
)

// scanned is what a scan found beside sound records.
type scanned struct {
	end     int64 // where the last sound record ends; what follows it is a torn tail
	records int64 // blobs behind a sound header whose bytes are wrong, with sound records behind them
	lost    int64 // bytes before end that belong to no sound record
}

// scan reads the records of a segment of size bytes in their order and calls each with every sound one. A record whose
// header is sound and whose bytes are not is stepped over; past an unsound header it searches for the next sound one. It
// returns errors of reading only: wrong bytes are none. It holds one window of memory, whatever the segment says.
func scan(r io.ReaderAt, size int64, s stamp, each func(offset int64, rec record)) (scanned, error) {
	w := &window{r: r, size: size}
	found := scanned{end: int64(preambleSize)}
	damaged := int64(0) // records stepped over since the last sound one
	for at := int64(preambleSize); ; {
		next, rec, err := nextRecord(w, s, at)
		if err != nil {
			return found, err
		}
		if next < 0 {
			return found, nil
		}
		at = next + rec.size()
		sound, err := isSound(w, next, rec)
		switch {
		case err != nil:
			return found, err
		case sound:
			found.lost += next - found.end
			found.records += damaged
			found.end, damaged = at, 0
			each(next, rec)
		default:
			damaged++
		}
	}
}

// isSound reports whether the whole record is there and its bytes hash right.
func isSound(w *window, at int64, rec record) (bool, error) {
	if at+rec.size() > w.size {
		return false, nil
	}
	if rec.kind == kindTomb {
		return true, nil
	}
	body, err := w.at(at+headerSize, int64(rec.length))
	if err != nil {
		return false, err
	}
	return bucket.Sum(body) == rec.hash, nil
}

// nextRecord returns the first sound header at or behind at, or -1 if none follows.
func nextRecord(w *window, s stamp, at int64) (int64, record, error) {
	for at+headerSize <= w.size {
		head, err := w.at(at, headerSize)
		if err != nil {
			return -1, record{}, err
		}
		if rec, ok := s.parse(head, at); ok {
			return at, rec, nil
		}
		if at, err = w.search(at + 1); err != nil || at < 0 {
			return -1, record{}, err
		}
	}
	return -1, record{}, nil
}

// windowSize is how much of a segment a scan holds at a time: several records of the largest size.
const windowSize = 256 << 10

// window reads a file front to back through a buffer.
type window struct {
	r     io.ReaderAt
	size  int64
	buf   []byte
	start int64 // where buf begins in the file
}

// at returns n bytes at off, which must be inside the file and no more than windowSize. They are valid until the next call.
func (w *window) at(off, n int64) ([]byte, error) {
	if off < w.start || off+n > w.start+int64(len(w.buf)) {
		if err := w.fill(off); err != nil {
			return nil, err
		}
	}
	from := off - w.start
	if from+n > int64(len(w.buf)) {
		return nil, fmt.Errorf("read segment at %d: %w", off, io.ErrUnexpectedEOF)
	}
	return w.buf[from : from+n], nil
}

func (w *window) fill(off int64) error {
	if w.buf == nil {
		w.buf = make([]byte, 0, min(windowSize, w.size))
	}
	w.start = off
	w.buf = w.buf[:min(int64(cap(w.buf)), w.size-off)]
	n, err := w.r.ReadAt(w.buf, off)
	w.buf = w.buf[:n]
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read segment at %d: %w", off, err)
	}
	return nil
}

// search returns the offset of the next magic at or behind off, or -1.
func (w *window) search(off int64) (int64, error) {
	for off+headerSize <= w.size {
		n := min(windowSize/4, w.size-off)
		b, err := w.at(off, n)
		if err != nil {
			return -1, err
		}
		if i := bytes.Index(b, []byte(recordMagic)); i >= 0 {
			return off + int64(i), nil
		}
		off += n - int64(len(recordMagic)) + 1 // a magic may straddle the edge
	}
	return -1, nil
}
