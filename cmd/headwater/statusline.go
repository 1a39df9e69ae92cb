package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"headwater/bucket"
	"headwater/consumer"
)

// statusLine is the last line of a terminal: how far catch-ups are, with what is logged passing above it. The log writes
// through it, and it hears events. Without a terminal it only passes on what is logged. Safe for concurrent use.
type statusLine struct {
	w        io.Writer
	terminal bool

	mu    sync.Mutex
	under map[bucket.ID]catchUp
	shown bool
}

// catchUp is one that is under way.
type catchUp struct {
	first, last consumer.Progress
	began, told time.Time
}

// staleAfter is how long a catch-up is shown after its last event.
const staleAfter = 5 * time.Second

func newStatusLine(w io.Writer) *statusLine {
	return &statusLine{w: w, terminal: isTerminal(w), under: map[bucket.ID]catchUp{}}
}

// hear takes note of an event.
func (s *statusLine) hear(e consumer.Event) {
	if !s.terminal {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e.Kind {
	case consumer.EventProgress:
		c, ok := s.under[e.BucketID]
		if !ok || e.Progress.Fetched < c.first.Fetched {
			c = catchUp{first: *e.Progress, began: e.At}
		}
		c.last, c.told = *e.Progress, e.At
		s.under[e.BucketID] = c
	case consumer.EventComplete, consumer.EventForked:
		return
	default:
		delete(s.under, e.BucketID)
	}
	s.clear()
	s.draw(e.At)
}

// Write writes what is logged, whole lines, above the line.
func (s *statusLine) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	n, err := s.w.Write(b)
	s.draw(time.Now())
	return n, err
}

// end removes the line. Nothing is shown from then on but what is logged.
func (s *statusLine) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	s.terminal = false
}

func (s *statusLine) clear() {
	if s.shown {
		fmt.Fprint(s.w, "\r\x1b[K")
		s.shown = false
	}
}

// draw shows the catch-up that has most to do.
func (s *statusLine) draw(now time.Time) {
	var id bucket.ID
	for candidate, c := range s.under {
		if now.Sub(c.told) > staleAfter {
			delete(s.under, candidate)
		} else if s.under[id].left() <= c.left() {
			id = candidate
		}
	}
	if len(s.under) == 0 || !s.terminal {
		return
	}
	more := ""
	if n := len(s.under) - 1; n > 0 {
		more = fmt.Sprintf("; %d more", n)
	}
	fmt.Fprintf(s.w, "%s %s%s", shortID(id), s.under[id], more)
	s.shown = true
}

// left is how many versions are still to be appended.
func (c catchUp) left() uint64 { return c.last.Total - c.last.Appended }

// String fits a terminal.
func (c catchUp) String() string {
	text := progressText(c.last)
	done, took := c.last.Fetched-c.first.Fetched, c.told.Sub(c.began)
	if done > 0 && c.last.Fetched < c.last.Total {
		text += fmt.Sprintf(", %s to go", (took * time.Duration(c.last.Total-c.last.Fetched) / time.Duration(done)).Round(time.Second))
	}
	return text
}

// progressText is how far a catch-up is, for people.
func progressText(p consumer.Progress) string {
	return fmt.Sprintf("%d of %d versions (%.0f %%), %d logged", p.Fetched, p.Total, float64(p.Fetched)/float64(max(p.Total, 1))*100, p.Appended)
}
