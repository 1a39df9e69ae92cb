package tree_test

import (
	"mime"
	"os"
	"regexp"
	"testing"

	"headwater/tree"
)

func TestMediaTypeComesFromTheExtension(t *testing.T) {
	for name, want := range map[string]string{
		"a.txt": "text/plain", "a.json": "application/json", "a.js": "text/javascript", "main.rs": "text/x-rust",
		"song.m4a": "audio/m4a", "README.md": "text/markdown", "a.png": "image/png", "a.jpg": "image/jpeg", "a.JPEG": "image/jpeg",
		"a.pdf": "application/pdf", "index.html": "text/html", "a.css": "text/css", "a.toml": "text/x-toml", "a.yml": "text/x-yaml",
		"a.tar.gz": "application/gzip", "a.svg": "image/svg+xml", "..txt": "text/plain", ".a.txt": "text/plain", "a b.Py": "text/plain",
		"a.docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document", "a.mp4": "video/mp4", "x.ts": "video/vnd.dlna.mpeg-tts",
		"": "", "txt": "", ".txt": "", "a.": "", "a.unknown": "", "Makefile": "", "a.txt~": "", "a.txt ": "", "main.go": "", "dir.d/a": "",
	} {
		got := tree.MimeOf(name)
		if want == "" && got != nil {
			t.Errorf("%q: got %s, want none", name, *got)
		}
		if want != "" && (got == nil || *got != want) {
			t.Errorf("%q: got %v, want %s", name, got, want)
		}
	}
}

// The original refuses a whole node over a media type that is none.
func TestEveryMediaTypeIsOne(t *testing.T) {
	source, err := os.ReadFile("mime.go")
	if err != nil {
		t.Fatal(err)
	}
	var known int
	for _, m := range regexp.MustCompile(`"([a-z0-9]+)"`).FindAllSubmatch(source, -1) {
		got := tree.MimeOf("name." + string(m[1]))
		if got == nil {
			continue // a part of a type
		}
		known++
		if parsed, parameters, err := mime.ParseMediaType(*got); err != nil || len(parameters) > 0 || parsed != *got {
			t.Errorf("%s: got %q: %v", m[1], *got, err)
		}
	}
	if known < 250 {
		t.Errorf("got %d extensions, want them all", known)
	}
}

func FuzzMimeOf(f *testing.F) {
	f.Add("a.txt")
	f.Add(".\xff")
	f.Fuzz(func(t *testing.T, name string) {
		got := tree.MimeOf(name)
		if got == nil {
			return
		}
		if _, _, err := mime.ParseMediaType(*got); err != nil {
			t.Errorf("%q: got %q: %v", name, *got, err)
		}
	})
}
