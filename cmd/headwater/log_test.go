package main

import (
	"bytes"
	"testing"

	"headwater/bucket"
	"headwater/peer/local"

	"github.com/google/go-cmp/cmp"
)

func TestGraphDrawsForks(t *testing.T) {
	link := func(s string) bucket.Link { return bucket.ManifestLink([]byte(s)) }
	for _, tt := range []struct {
		name     string
		versions [][2]string // link and previous, newest first
		want     string
	}{
		{"a chain", [][2]string{{"b", "a"}, {"a", ""}}, "*  b\n|  -\n*  a\n   -\n"},
		{"a fork", [][2]string{{"d", "c"}, {"C", "b"}, {"c", "b"}, {"b", "a"}, {"a", ""}},
			"*  d\n|  -\n| *  C\n| |  -\n* |  c\n| |  -\n|/\n*  b\n|  -\n*  a\n   -\n"},
		{"two forks", [][2]string{{"x", "b"}, {"y", "b"}, {"z", "a"}, {"b", "a"}, {"a", ""}},
			"*  x\n|  -\n| *  y\n| |  -\n| | *  z\n| | |  -\n|/ /\n* |  b\n| |  -\n|/\n*  a\n   -\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			g := graph{w: &b}
			for _, v := range tt.versions {
				l := local.LogEntry{Link: link(v[0])}
				if v[1] != "" {
					l.Previous = new(link(v[1]))
				}
				if err := g.draw(l, v[0], "-"); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(tt.want, b.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
