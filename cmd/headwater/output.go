package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"headwater/bucket"
)

// output is where answers go. It remembers its first failure, which ends the command: an answer that nobody got is no answer.
type output struct {
	w   io.Writer
	err error
}

// Write writes, or repeats the first failure.
func (o *output) Write(b []byte) (n int, err error) {
	if o.err != nil {
		return 0, o.err
	}
	if n, err = o.w.Write(b); err != nil {
		o.err = fmt.Errorf("write the answer: %w", err)
	}
	return n, o.err
}

// writeJSON writes one object on a line.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// table writes rows in columns that fit a terminal.
func table(w io.Writer, rows func(row func(cells ...any))) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	rows(func(cells ...any) {
		for i, c := range cells {
			if i > 0 {
				fmt.Fprint(tw, "\t")
			}
			fmt.Fprint(tw, c)
		}
		fmt.Fprintln(tw)
	})
	return tw.Flush()
}

// isTerminal reports whether w is a terminal, where people read.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// short is enough of a link for a person to tell it from others: its last characters, since all begin alike.
func short(l bucket.Link) string {
	s := l.String()
	if len(s) < 12 {
		return "-"
	}
	return "…" + s[len(s)-10:]
}

// shortKey is the beginning of a peer's id.
func shortKey(k bucket.PublicKey) string {
	if k.IsZero() {
		return "unsigned"
	}
	return k.String()[:10] + "…"
}

// bytes writes a size for people.
func byteSize(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	size, exp := float64(n)/unit, 0
	for ; size >= unit && exp < 4; exp++ {
		size /= unit
	}
	return fmt.Sprintf("%.1f %ciB", size, "KMGTP"[exp])
}

// ago writes how long ago t was, for people.
func ago(t, now time.Time) string {
	d := now.Sub(t).Round(time.Second)
	if d < 0 {
		return "in " + (-d).String()
	}
	return d.String() + " ago"
}

// progress shows how much of long work is done, on a terminal only.
type progress struct {
	w    io.Writer
	what string
	size int64
	done int64
	next time.Time
}

// newProgress returns the progress of moving size bytes, nil-safe to use where w is no terminal.
func newProgress(w io.Writer, what string, size int64) *progress {
	if !isTerminal(w) {
		w = nil
	}
	return &progress{w: w, what: what, size: size}
}

// Write counts bytes that passed.
func (p *progress) Write(b []byte) (int, error) {
	p.done += int64(len(b))
	if now := time.Now(); p.w != nil && now.After(p.next) {
		p.next = now.Add(200 * time.Millisecond)
		if p.size > 0 {
			fmt.Fprintf(p.w, "\r%s %s of %s (%d %%)\x1b[K", p.what, byteSize(uint64(p.done)), byteSize(uint64(p.size)), p.done*100/p.size)
		} else {
			fmt.Fprintf(p.w, "\r%s %s\x1b[K", p.what, byteSize(uint64(p.done)))
		}
	}
	return len(b), nil
}

// end clears the line.
func (p *progress) end() {
	if p.w != nil {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// countPause is how long a count waits before it shows anything, and between one sight and the next: what is done sooner
// needs no progress.
const countPause = 200 * time.Millisecond

// count shows how much of long work is done, on a terminal only.
type count struct {
	w    io.Writer
	what string
	of   int // files; 0 where it is not known
	next time.Time
}

// newCount returns the progress of some work on files, or on versions, which shows nothing where w is no terminal.
func newCount(w io.Writer, what string, of int) *count {
	if !isTerminal(w) {
		w = nil
	}
	return &count{w: w, what: what, of: of, next: time.Now().Add(countPause)}
}

// set notes what is done. It is to be called from one goroutine at a time.
func (c *count) set(files, size int64) {
	c.show(uint64(files), uint64(c.of), "files", func() string { return ", " + byteSize(uint64(size)) })
}

// objects notes how many objects are uploaded. It is to be called from one goroutine at a time.
func (c *count) objects(done, total int, size int64) {
	c.show(uint64(done), uint64(total), "objects", func() string { return ", " + byteSize(uint64(size)) })
}

func (c *count) show(done, of uint64, units string, more func() string) {
	now := time.Now()
	if c.w == nil || now.Before(c.next) {
		return
	}
	c.next = now.Add(countPause)
	if of > 0 {
		fmt.Fprintf(c.w, "\r%s %d of %d %s (%.0f %%)%s\x1b[K", c.what, done, of, units, float64(done)/float64(of)*100, more())
	} else {
		fmt.Fprintf(c.w, "\r%s %d %s%s\x1b[K", c.what, done, units, more())
	}
}

// end clears the line.
func (c *count) end() {
	if c.w != nil {
		fmt.Fprint(c.w, "\r\x1b[K")
	}
}
