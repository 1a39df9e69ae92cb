package main

import (
	"bytes"
	"testing"
	"time"

	"headwater/bucket"
	"headwater/consumer"
)

func TestStatusLineStaysBelowTheLog(t *testing.T) {
	var out bytes.Buffer
	s := newStatusLine(&out)
	s.terminal = true
	id, err := bucket.ParseID("9d63cc69-7f44-408b-917e-9b96c30561e4")
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	tell := func(after time.Duration, fetched, appended uint64) {
		s.hear(consumer.Event{At: start.Add(after), Kind: consumer.EventProgress, BucketID: id,
			Progress: &consumer.Progress{Total: 1000, Fetched: fetched, Appended: appended}})
	}
	const gone = "\r\x1b[K"
	for _, step := range []struct {
		do   func()
		want string
	}{
		{func() { tell(time.Second, 100, 0) }, "9d63cc69 100 of 1000 versions (10 %), 0 logged"},
		{func() { tell(2*time.Second, 400, 0) }, gone + "9d63cc69 400 of 1000 versions (40 %), 0 logged, 2s to go"},
		{func() { _, _ = s.Write([]byte("a line\n")) }, gone + "a line\n9d63cc69 400 of 1000 versions (40 %), 0 logged, 2s to go"},
		{func() { tell(3*time.Second, 1000, 500) }, gone + "9d63cc69 1000 of 1000 versions (100 %), 500 logged"},
		{func() { s.hear(consumer.Event{At: start, Kind: consumer.EventApplied, BucketID: id}) }, gone},
		{func() { tell(4*time.Second, 1, 0) }, "9d63cc69 1 of 1000 versions (0 %), 0 logged"},
		{s.end, gone},
		{func() { _, _ = s.Write([]byte("the last\n")) }, "the last\n"},
	} {
		out.Reset()
		step.do()
		if got := out.String(); got != step.want {
			t.Errorf("got %q, want %q", got, step.want)
		}
	}
}

// Without a terminal, only the log is written.
func TestStatusLineIsForTerminals(t *testing.T) {
	var out bytes.Buffer
	s := newStatusLine(&out)
	s.hear(consumer.Event{Kind: consumer.EventProgress, Progress: &consumer.Progress{Total: 10}})
	_, _ = s.Write([]byte("a line\n"))
	s.end()
	if got := out.String(); got != "a line\n" {
		t.Errorf("got %q, want the line alone", got)
	}
}
