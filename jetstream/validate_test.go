package jetstream_test

import (
	"strings"
	"testing"

	"headwater/jetstream"
)

func TestValidate_URLs(t *testing.T) {
	for _, url := range []string{
		"", "localhost", "localhost:4222", "nats://one:1, tls://two:2", "wss://user:secret@host:443/path", "nats://[::1]:4222", "10.0.0.1",
	} {
		if err := (jetstream.Config{URL: url}).Validate(); err != nil {
			t.Errorf("%q: got %v, want nothing wrong", url, err)
		}
	}
	for _, url := range []string{
		"foo://user:secret@x", "http://x", "nats://", "nats://one,", "nats://user:secret@a b", "nats://user:sec ret@x:port", "nats://:secret@",
	} {
		err := jetstream.Config{URL: url}.Validate()
		if err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "sec ret") {
			t.Errorf("%q: got %v, want what is wrong, without the password", url, err)
		}
	}
}
