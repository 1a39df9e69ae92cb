package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"headwater/bucket"
	"headwater/consumer"
	"headwater/jetstream"
)

func TestExitCode(t *testing.T) {
	refusal := bucket.Refuse(bucket.BadSignature, bucket.Link{}, "no")
	for _, tt := range []struct {
		name string
		err  error
		want int
	}{
		{"nothing", nil, 0},
		{"anything", errors.New("disk on fire"), 1},
		{"wrong use", usagef("no such flag"), 2},
		{"wrong form", fmt.Errorf("link: %w", bucket.ErrSyntax), 2},
		{"not found", fmt.Errorf("bucket: %w", errNotFound), 3},
		{"no such object", fmt.Errorf("get: %w", consumer.ErrNotFound), 3},
		{"no such letter", fmt.Errorf("show: %w", jetstream.ErrNotFound), 3},

		{"the peer failed", fmt.Errorf("ask: %w", &jetstream.ServiceError{Code: 500}), 1},
		{"refused", fmt.Errorf("inspect: %w", refusal), 4},
		{"refused, joined", errors.Join(errors.New("close"), refusal), 4},
		{"no broker", fmt.Errorf("dial: %w", jetstream.ErrUnreachable), 5},
		{"no peer", fmt.Errorf("ask: %w", jetstream.ErrNoPeer), 5},
		{"no answer", fmt.Errorf("ask: %w", jetstream.ErrTimeout), 5},
		{"interrupted", fmt.Errorf("watch: %w", context.Canceled), 130},
		{"interrupted while refused", errors.Join(refusal, context.Canceled), 130},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := exitCode(tt.err); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func TestReportIsOneJSONObject(t *testing.T) {
	var b bytes.Buffer
	code := report(&b, true, fmt.Errorf("inspect: %w", bucket.Refuse(bucket.Malformed, bucket.Link{}, "nonsense")))
	want := `{"error":"inspect: malformed: nonsense","class":"malformed","exit":4}` + "\n"
	if code != 4 || b.String() != want {
		t.Errorf("got %d, %s, want 4, %s", code, b.String(), want)
	}
}

func TestInterruptedCommandsSayThatAndNoMore(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		var b bytes.Buffer
		code := report(&b, asJSON, fmt.Errorf("list buckets: %w", context.Canceled))
		if code != exitInterrupted || !strings.Contains(b.String(), "interrupted") || strings.Contains(b.String(), "context") {
			t.Errorf("got %d, %q, want %d and that it was interrupted", code, b.String(), exitInterrupted)
		}
	}
}

// run carries out a command line with an environment of its own.
func run(t *testing.T, env map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	look := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	code = newApp(bytes.NewReader(nil), &out, &errs, look).run(t.Context(), args)
	return code, out.String(), errs.String()
}

func TestAnAnswerThatCannotBeWrittenFails(t *testing.T) {
	var errs bytes.Buffer
	a := newApp(bytes.NewReader(nil), brokenPipe{}, &errs, func(string) (string, bool) { return "", false })
	if code := a.run(t.Context(), []string{"version"}); code != exitFailed {
		t.Errorf("got exit code %d, want %d (%s)", code, exitFailed, errs.String())
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
