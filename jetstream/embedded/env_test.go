package embedded_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"headwater/bucket"
	"headwater/jetstream"
)

func noErr(tb testing.TB, what string, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatalf("%s: got error %v", what, err)
	}
}

func wantErr(tb testing.TB, what string, got, want error) {
	tb.Helper()
	if !errors.Is(got, want) {
		tb.Errorf("%s: got error %v, want %v", what, got, want)
	}
}

func within(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(tb.Context(), time.Minute)
	tb.Cleanup(cancel)
	return ctx
}

var owner = bucket.PublicKey{0: 0xfe, 31: 1}

// ensured connects and makes all that a peer needs.
func ensured(tb testing.TB, url string) *jetstream.Client {
	tb.Helper()
	c, err := jetstream.Dial(within(tb), jetstream.Config{URL: url})
	noErr(tb, "dial", err)
	tb.Cleanup(func() { noErr(tb, "close", c.Close(context.Background())) })
	_, err = c.Ensure(within(tb), jetstream.EnsureConfig{Peer: owner})
	noErr(tb, "ensure", err)
	return c
}

func put(tb testing.TB, c *jetstream.Client, b []byte) {
	tb.Helper()
	noErr(tb, "put", c.PutObject(within(tb), c.Names().BlobStore(), bucket.Sum(b), int64(len(b)), bytes.NewReader(b)))
}

func wantObject(tb testing.TB, c *jetstream.Client, want []byte) {
	tb.Helper()
	r, _, err := c.Objects().Get(within(tb), c.Names().BlobStore(), bucket.Sum(want), false)
	noErr(tb, "get", err)
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
		tb.Errorf("got %d bytes, %v, want the %d that were put", len(got), err, len(want))
	}
}

func announce(tb testing.TB, c *jetstream.Client) bucket.Announcement {
	tb.Helper()
	a := bucket.Announcement{Bucket: bucket.NewID(), Peer: owner, Link: bucket.ManifestLink([]byte("head"))}
	_, err := c.Announce(within(tb), a)
	noErr(tb, "announce", err)
	return a
}
