package jetstream

import (
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"headwater/bucket"

	"github.com/nats-io/nats.go"
)

func TestSubjectsCoverEachOther(t *testing.T) {
	for _, c := range []struct {
		pattern, sub string
		want         bool
	}{
		{"a.b", "a.b", true}, {"a.*", "a.b", true}, {"a.*", "a.*", true}, {"a.>", "a.*.*", true}, {">", "a", true}, {"a.>", "a.>", true},
		{"a.b", "a.*", false}, {"a.*", "a.>", false}, {"a.*", "a", false}, {"a.>", "a", false}, {"a.*", "a.b.c", false}, {"a", "a.b", false},
	} {
		if got := subjectCovers(c.pattern, c.sub); got != c.want {
			t.Errorf("%s covers %s: got %v, want %v", c.pattern, c.sub, got, c.want)
		}
	}
}

func TestTextFromOutsideIsMadeFitForOneLine(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "a\r\nb\x00c\x7fd": "a  b c d", strings.Repeat("ä", 10): strings.Repeat("ä", 5), "bad\xffutf": "bad utf",
	} {
		if got := clip(in, 11); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestWhatWasLearntOfAStreamIsForgottenInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m memory
		a, b := place{"api", "a"}, place{"api", "b"}
		check := func(when string, in place, yes, known bool) {
			t.Helper()
			if gotYes, gotKnown := m.known(in); gotYes != yes || gotKnown != known || m.is(in) != yes {
				t.Errorf("%s, stream %s: got %v, known %v, want %v, %v", when, in.stream, gotYes, gotKnown, yes, known)
			}
		}
		check("at first", a, false, false)
		m.know(a, true)
		m.know(b, false)
		<-time.After(memoryLimit) // on the clock of the bubble, which takes no time
		check("at the end", a, true, true)
		check("at the end", b, false, true)
		<-time.After(time.Nanosecond)
		check("too late", a, false, false)
		m.know(a, true)
		m.forget()
		check("forgotten", a, false, false)
		for n := range 10 * maxMemory {
			m.know(place{"api", strings.Repeat("x", n)}, true)
		}
		if len(m.learnt) > maxMemory {
			t.Errorf("%d streams are remembered, want at most %d", len(m.learnt), maxMemory)
		}
	})
}

// FuzzReadMeta: whatever a description says, what is taken of it is within its bounds and belongs to the object.
func FuzzReadMeta(f *testing.F) {
	h := bucket.Sum([]byte("x"))
	f.Add([]byte(`{"name":"` + h.String() + `","options":{"max_chunk_size":131072},"bucket":"b","nuid":"n","size":3,"mtime":"0001-01-01T00:00:00Z","chunks":1}`))
	f.Add([]byte(`{"name":"` + h.String() + `","options":{"link":{"bucket":"b","name":"n"}}}`))
	f.Add([]byte(`{"name":"` + h.String() + `","deleted":true,"size":0,"chunks":0}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := readMeta(&nats.Msg{Data: body}, h)
		if err != nil {
			return
		}
		if m.Name != h.String() || m.Size > math.MaxInt64 || m.Chunks > m.Size || m.Deleted || m.Options.Link != nil {
			t.Errorf("took %+v", m)
		}
		if m.Chunks > 0 && (!validToken(m.Token) || strings.ContainsAny(m.Token, ".*> \r\n")) {
			t.Errorf("took token %q", m.Token)
		}
	})
}
