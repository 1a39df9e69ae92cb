package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"headwater/bucket"
	"headwater/consumer"
	"headwater/peer/local"
)

// fitting returns the words that a command wrote for a person. The test fails if a line does not fit a terminal.
func fitting(t *testing.T, show func(a *app) error) string {
	t.Helper()
	var out bytes.Buffer
	if err := show(newApp(nil, &out, nil, func(string) (string, bool) { return "", false })); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
			t.Errorf("got %d characters, want at most 80: %s", n, line)
		}
	}
	return strings.Join(strings.Fields(out.String()), " ")
}

func TestStatusFitsATerminalAndLeavesNothingOut(t *testing.T) {
	id, err := bucket.ParseID("9d63cc69-7f44-408b-917e-9b96c30561e4")
	if err != nil {
		t.Fatal(err)
	}
	soon := time.Now().Add(time.Minute)
	offline := strings.Repeat("the broker does not answer; ", 8)
	b := consumer.Status{
		BucketID: id, Name: strings.Repeat("photos of ", 9), State: consumer.StateCatchingUp,
		Known: &bucket.Head{Height: 1_000_000}, Complete: &bucket.Head{Height: 999_999}, Behind: 17, Forks: 3, Dead: 5,
		Pins: consumer.PinStatus{Needed: 20_000, Held: 19_999, BytesHeld: 1023 << 30}, CatchUp: consumer.Progress{Total: 20, Fetched: 10},
		LastError: strings.Repeat("a store did not answer, ", 9), Since: &soon, NextTry: &soon,
	}
	status := local.Status{Broker: local.Broker{Error: offline}, Buckets: []consumer.Status{b, {BucketID: id, LastError: offline}}}
	out := fitting(t, func(a *app) error { return a.printStatus(status) })
	for _, want := range []string{
		"9d63cc69", "catching_up", "1000000", "999999", "19999/20000", "1023.0 GiB", "17 versions behind", "3 branches", "5 dead letters",
		"10 of 20 versions", "did not answer", "next try in",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("got %s, want %q in it", out, want)
		}
	}
	if n := strings.Count(out, "offline:"); n != 1 || strings.Count(out, "the broker does not") != 8 {
		t.Errorf("got %s, want why it is offline said once", out)
	}
}

func TestLogFitsATerminalWithWholeLinks(t *testing.T) {
	link := bucket.ManifestLink([]byte("a"))
	out := fitting(t, func(a *app) error {
		return a.printVersion(&graph{w: a.out, columns: make([]bucket.Link, 3)}, local.LogEntry{
			Link: link, Height: 1_000_000, Name: strings.Repeat("photos of ", 9), Author: new(bucket.PublicKey),
			Head: true, Complete: true, Published: true,
		})
	})
	if !strings.Contains(out, link.String()) || !strings.Contains(out, "head complete published") {
		t.Errorf("got %s, want all of the link, and what the version is", out)
	}
}
