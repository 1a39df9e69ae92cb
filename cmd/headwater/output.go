package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

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

// answer writes v as JSON if that is asked for, otherwise the text.
func (a *app) answer(v any, format string, args ...any) error {
	if a.json {
		return writeJSON(a.out, v)
	}
	_, err := fmt.Fprintf(a.out, format, args...)
	return err
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

// shortID is the beginning of a bucket's id, which names it too.
func shortID(id bucket.ID) string { return id.String()[:8] }

// clip makes text from outside printable, and cuts it to n characters.
func clip(s string, n int) string {
	s = printable(s)
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// clipText makes a sentence from outside fit a few lines.
func clipText(s string) string { return clip(s, 300) }

// printable makes text from outside safe for a terminal: what would move the cursor, or show nothing, becomes a question mark.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// lineWidth is how many characters a line for people has at most: every terminal has room for them.
const lineWidth = 80

// wrap breaks a sentence into lines between its words, and indents all but the first. A word longer than a line stays whole.
func wrap(s string) string {
	var b strings.Builder
	column := 0
	for _, word := range strings.Fields(s) {
		n := utf8.RuneCountInString(word) + 1
		if column += n; column > lineWidth+1 && column > n {
			b.WriteString("\n ")
			column = n + 2
		}
		if column > n {
			b.WriteString(" ")
		}
		b.WriteString(printable(word))
	}
	return b.String() + "\n"
}

// timeText is a time for people, in their own zone.
func timeText(t time.Time) string { return t.Local().Format(time.DateTime) }

// byteSize writes a size for people.
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

// ago writes how long ago t was, for people; nil is now.
func ago(t *time.Time) string {
	var d time.Duration
	if t != nil {
		d = time.Since(*t).Round(time.Second)
	}
	if d < 0 {
		return "in " + (-d).String()
	}
	return d.String() + " ago"
}

// progressPause is how long progress waits before it shows anything, and between updates: work that is done sooner needs none.
const progressPause = 200 * time.Millisecond

// progress shows how much of long work is done, on a terminal only. Not safe for concurrent use.
type progress struct {
	w    io.Writer // nil: nothing is shown
	what string
	size int64 // bytes that Write will see
	done int64 // bytes that it saw
	next time.Time
}

func newProgress(w io.Writer, what string) *progress {
	if !isTerminal(w) {
		w = nil
	}
	return &progress{w: w, what: what, next: time.Now().Add(progressPause)}
}

// Write counts bytes that passed.
func (p *progress) Write(b []byte) (int, error) {
	p.done += int64(len(b))
	p.show(p.done, p.size, byteSize(uint64(p.done)))
	return len(b), nil
}

// count notes how many things are done, and their bytes; of is how many there are, 0 if that is not known.
func (p *progress) count(done, of int64, things string, bytes int64) {
	p.show(done, of, fmt.Sprintf("%d %s, %s", done, things, byteSize(uint64(bytes))))
}

func (p *progress) show(done, of int64, text string) {
	now := time.Now()
	if p.w == nil || now.Before(p.next) {
		return
	}
	p.next = now.Add(progressPause)
	if of > 0 {
		text += fmt.Sprintf(" (%d %%)", done*100/of)
	}
	fmt.Fprintf(p.w, "\r%s %s\x1b[K", p.what, text)
}

// end clears the line.
func (p *progress) end() {
	if p.w != nil {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
