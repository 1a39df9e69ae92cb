package local

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
)

// protocol is the version of what is spoken over the socket. Both ends say theirs first; different ones do not go on.
const protocol = 1

// What is spoken, one call at a time on a connection: the client sends a request frame; the holder sends any number of event
// frames and then an answer or an error. An answer to get is followed by data frames and an end, or an error. A put is told to
// go on, or that it is done already; then the client sends data frames and an end. Whoever closes the connection in between ends
// the call. A frame is its kind, the size of its content in 4 bytes, big-endian, and the content: JSON, but for data.
const (
	frameHello   byte = 'h'
	frameRequest byte = 'r'
	frameEvent   byte = 'v'
	frameAnswer  byte = 'a'
	frameError   byte = 'e'
	frameGoOn    byte = 'g'
	frameData    byte = 'd'
	frameEnd     byte = 'z'
)

const (
	// maxFrame is the most bytes of a frame's content: a pins list of 64 MiB in base64, and a little.
	maxFrame = 96 << 20
	// dataSize is how many bytes a data frame has, but for the last one.
	dataSize = 128 << 10
)

// errFrame says that what came over the socket is no frame that belongs there.
var errFrame = errors.New("the other end of the peer's socket says what makes no sense")

// conn is one connection. It is for one goroutine at a time in each direction.
type conn struct {
	net.Conn
	r    *bufio.Reader
	w    *bufio.Writer
	data []byte // of a data frame
}

func newConn(c net.Conn) *conn {
	return &conn{Conn: c, r: bufio.NewReaderSize(c, 64<<10), w: bufio.NewWriterSize(c, 64<<10)}
}

// put writes a frame, which may stay in the buffer.
func (c *conn) put(kind byte, content []byte) error {
	if len(content) > maxFrame {
		return fmt.Errorf("a message of %d bytes does not fit through the peer's socket", len(content))
	}
	head := [5]byte{kind}
	binary.BigEndian.PutUint32(head[1:], uint32(len(content)))
	if _, err := c.w.Write(head[:]); err != nil {
		return err
	}
	_, err := c.w.Write(content)
	return err
}

// send writes a frame with v as JSON, and all that was written before.
func (c *conn) send(kind byte, v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		err = c.put(kind, b)
	}
	if err == nil {
		err = c.w.Flush()
	}
	return err
}

// head reads the beginning of a frame.
func (c *conn) head() (kind byte, size int, err error) {
	var head [5]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return 0, 0, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxFrame {
		return 0, 0, fmt.Errorf("%w: a frame of %d bytes", errFrame, n)
	}
	return head[0], int(n), nil
}

// receive reads a frame, growing with what really comes.
func (c *conn) receive() (kind byte, content []byte, err error) {
	kind, size, err := c.head()
	if err != nil {
		return 0, nil, err
	}
	content, err = io.ReadAll(io.LimitReader(c.r, int64(size)))
	if err == nil && len(content) < size {
		err = io.ErrUnexpectedEOF
	}
	return kind, content, err
}

// sendData sends all of r as data frames, without an end.
func (c *conn) sendData(r io.Reader) error {
	if c.data == nil {
		c.data = make([]byte, dataSize)
	}
	for {
		n, err := io.ReadFull(r, c.data)
		if n > 0 {
			if err := c.put(frameData, c.data[:n]); err != nil {
				return &sendError{err}
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// sendError is that of the connection, and not of what was to be sent over it.
type sendError struct{ error }

func (e *sendError) Unwrap() error { return e.error }

// dataReader reads the content of data frames up to the end. Another frame in their place is kept as what ended them.
type dataReader struct {
	c    *conn
	left int // of the frame that is being read
	err  error
}

func (d *dataReader) Read(p []byte) (int, error) {
	for d.left == 0 && d.err == nil {
		d.next()
	}
	if d.err != nil {
		return 0, d.err
	}
	n, err := d.c.r.Read(p[:min(len(p), d.left)])
	d.left -= n
	if err != nil {
		d.err = unexpected(err)
	}
	return n, d.err
}

// next begins the next frame.
func (d *dataReader) next() {
	kind, size, err := d.c.head()
	switch {
	case err != nil:
		d.err = unexpected(err)
	case kind == frameData:
		d.left = size
	case kind == frameEnd && size == 0:
		d.err = io.EOF
	case kind == frameError:
		content, err := io.ReadAll(io.LimitReader(d.c.r, int64(size)))
		if d.err = unexpected(err); err == nil {
			d.err = decodeError(content)
		}
	default:
		d.err = fmt.Errorf("%w: a frame %q among data", errFrame, kind)
	}
}

// unexpected is what the end of a connection is in the middle of a call.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
