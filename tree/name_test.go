package tree_test

import (
	"errors"
	"strings"
	"testing"

	"headwater/tree"
)

func TestCheckName(t *testing.T) {
	good := []string{
		"a", "hello.txt", ".profile", "..data", "...x", "a b", "ünï.md", "名前", "-rf", "~", "com", "COM10", "com1x",
		"lpt", "conin", "console", "nullable", "auxiliary.c", "12:30", "a.b:c", "é:x", "file.", "file ", "a\nb", strings.Repeat("x", 255), strings.Repeat("é", 127),
	}
	for _, name := range good {
		if err := tree.CheckName(name); err != nil {
			t.Errorf("%q: got %v, want it taken", name, err)
		}
	}
	bad := []string{
		"", ".", "..", "...", " ", ".. ", ". .", "a/b", "/", "/etc", "../x", "a/", `a\b`, `\`, `\\host\share`, `..\x`, "a\x00b", "\x00",
		"C:", "c:x", "z:.", "\xff", "a\xc3", strings.Repeat("x", 256), strings.Repeat("é", 128),
		"con", "PRN", "aux", "NUL", "nul.txt", "Aux.c", "nul ", "nul .x", "nul:", "nul:x.y", "COM1", "com9.log", "COM0", "lpt1",
		"LPT².x", "com¹", "CONIN$", "conout$", "conout$.x",
	}
	for _, name := range bad {
		if err := tree.CheckName(name); !errors.Is(err, tree.ErrName) {
			t.Errorf("%q: got %v, want ErrName", name, err)
		}
	}
}
