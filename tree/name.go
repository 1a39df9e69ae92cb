package tree

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxFileName is the longest name, in bytes, that all common file systems take.
const maxFileName = 255

// CheckName reports whether a name found in a node may become the name of a real file. If it may not, the error is
// [ErrName]: for a name that is empty, not UTF-8, longer than 255 bytes, of dots and spaces only (such as "." and ".."),
// with a slash, a backslash or a NUL, or one that begins with a drive ("C:"). These are refused on every system alike, so
// that no name of a tree can leave its directory.
//
// A good name may still be refused by one file system or another: for a character such as "*" or ":", for being that of a
// device (see [IsDevice]), or for meeting a file of another spelling if case is ignored (see [Collisions]).
func CheckName(name string) error {
	if reason := unsafeName(name); reason != "" {
		return fmt.Errorf("name %.80q: %w: %s", name, ErrName, reason)
	}
	return nil
}

// unsafeName says what is wrong with a name, or nothing.
func unsafeName(name string) string {
	switch {
	case name == "":
		return "empty"
	case len(name) > maxFileName:
		return fmt.Sprintf("%d bytes, the limit is %d", len(name), maxFileName)
	case !utf8.ValidString(name):
		return "not UTF-8"
	case strings.ContainsAny(name, "/\\\x00"):
		return "a slash, backslash or NUL in it"
	case strings.Trim(name, ". ") == "": // Windows drops dots and spaces at the end, so ".. " is ".."
		return "nothing but dots and spaces"
	case len(name) >= 2 && name[1] == ':' && isLetter(name[0]):
		return "begins with a drive"
	}
	return ""
}

func isLetter(c byte) bool { c |= 0x20; return 'a' <= c && c <= 'z' }

// IsDevice reports whether Windows, in one of its versions, opens a device under this name in any directory: "nul", "Aux.c",
// "COM1", in any case and with any extension. Elsewhere such names are like all others, so [CheckName] takes them; code that
// writes files on Windows asks here too.
func IsDevice(name string) bool {
	if i := strings.IndexAny(name, ".:"); i >= 0 {
		name = name[:i]
	}
	name = strings.ToUpper(strings.TrimRight(name, " "))
	if slices.Contains([]string{"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"}, name) {
		return true
	}
	number, ok := strings.CutPrefix(name, "COM")
	if !ok {
		number, ok = strings.CutPrefix(name, "LPT")
	}
	return ok && utf8.RuneCountInString(number) == 1 && strings.Contains("0123456789¹²³", number)
}
