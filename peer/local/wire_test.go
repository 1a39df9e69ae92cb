package local

import (
	"encoding/json"
	"testing"
)

func FuzzMessages(f *testing.F) {
	for _, s := range []string{
		`{"protocol":1,"info":{"pid":1}}`, `{"hash":"00","query":null}`, `{"ready":true,"event":{}}`,
		`{"text":"x","is":["gone","?"],"refusal":{"class":"malformed"}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, v := range []any{new(hello), new(request), new(line)} {
			_ = json.Unmarshal(b, v)
		}
		if all, err := parseTogether(b); err == nil {
			n := 0
			for _, p := range all {
				n += smallHead + len(p.data)
			}
			if n != len(b) {
				t.Fatalf("got %d bytes of %d", n, len(b))
			}
		}
		var w wireError
		if json.Unmarshal(b, &w) == nil {
			_ = w.err().Error()
		}
	})
}
