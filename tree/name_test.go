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
		"lpt", "conin", "console", "nullable", "auxiliary.c", "12:30", "a.b:c", "é:x", "file.", "file ", "a\nb", "aux.c", "NUL",
		strings.Repeat("x", 255), strings.Repeat("é", 127),
	}
	for _, name := range good {
		if err := tree.CheckName(name); err != nil {
			t.Errorf("%q: got %v, want it taken", name, err)
		}
	}
	bad := []string{
		"", ".", "..", "...", " ", ".. ", ". .", "a/b", "/", "/etc", "../x", "a/", `a\b`, `\`, `\\host\share`, `..\x`, "a\x00b", "\x00",
		"C:", "c:x", "z:.", "\xff", "a\xc3", strings.Repeat("x", 256), strings.Repeat("é", 128),
	}
	for _, name := range bad {
		if err := tree.CheckName(name); !errors.Is(err, tree.ErrName) {
			t.Errorf("%q: got %v, want ErrName", name, err)
		}
	}
}

func TestIsDevice(t *testing.T) {
	devices := []string{
		"con", "PRN", "aux", "NUL", "nul.txt", "Aux.c", "nul ", "nul .x", "nul:", "nul:x.y", "COM1", "com9.log", "COM0", "lpt1",
		"LPT².x", "com¹", "CONIN$", "conout$", "conout$.x",
	}
	for _, name := range devices {
		if !tree.IsDevice(name) {
			t.Errorf("%q: got false, want it known as a device", name)
		}
		if err := tree.CheckName(name); err != nil {
			t.Errorf("%q: got %v, want it taken: it is a device on Windows only", name, err)
		}
	}
	files := []string{"", "a", "com", "COM10", "com1x", "lpt", "conin", "console", "nullable", "auxiliary.c", ".nul", "x.nul", "COM⁴", "a con"}
	for _, name := range files {
		if tree.IsDevice(name) {
			t.Errorf("%q: got true, want it to be no device", name)
		}
	}
}
