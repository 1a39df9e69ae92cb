package tree_test

import (
	"bytes"
	"io/fs"
	"math"
	"strings"
	"testing"

	"headwater/bucket"
	"headwater/tree"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// throughNode is what is left of a file's entry once it was written into a node and read again.
func throughNode(t testing.TB, d tree.Data) tree.Data {
	t.Helper()
	b, err := (&tree.Node{Links: map[string]tree.Entry{"file": d}}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	n, err := tree.DecodeNode(b)
	if err != nil {
		t.Fatal(err)
	}
	return n.Links["file"].(tree.Data)
}

func TestAttributesComeBackFromANode(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		want := tree.Attributes{
			Perm:    fs.FileMode(rapid.Uint32Range(0, 0o777).Draw(rt, "perm")),
			Symlink: rapid.Bool().Draw(rt, "symlink"),
			Size:    rapid.Uint64Range(0, tree.MaxPlainSize).Draw(rt, "size"),
			Hash:    bucket.Hash(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(rt, "hash")),
		}
		got, ok := throughNode(t, tree.Data{Link: rawLink, Metadata: want.Metadata()}).Attributes()
		if !ok {
			rt.Fatalf("got no attributes, want %v", want)
		}
		if d := cmp.Diff(want, got); d != "" {
			rt.Error(d)
		}
	})
}

func TestAttributesHaveTheirBytes(t *testing.T) {
	got := tree.Attributes{Perm: 0o755, Symlink: true, Size: 5, Hash: bucket.Hash{0xab}}.Metadata()
	want := unhex(t, "a3"+"646d6f6465"+"19a1ed"+"6473697a65"+"05"+"66626c616b6533"+"5820ab"+zeros(31))
	if !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

func zeros(n int) string { return strings.Repeat("00", n) }

func TestOnlyPermissionsAreKeptOfAMode(t *testing.T) {
	d := tree.Data{Metadata: tree.Attributes{Perm: fs.ModeDir | fs.ModeSetuid | 0o700}.Metadata()}
	if a, ok := d.Attributes(); !ok || a.Perm != 0o700 {
		t.Errorf("got %v, %v, want 0700", a, ok)
	}
}

func TestMetadataOfOthers(t *testing.T) {
	mode, size, hash := "646d6f6465"+"1901a4", "6473697a65"+"05", "66626c616b6533"+"5820"+zeros(32)
	plain := tree.Attributes{Perm: 0o644, Size: 5}
	cases := map[string]struct {
		hex  string
		want tree.Attributes
		ok   bool
	}{
		"none":                   {"", tree.Attributes{}, false},
		"empty":                  {"a0", tree.Attributes{}, false},
		"ours":                   {"a3" + mode + size + hash, plain, true},
		"ours and more":          {"a5" + "6161" + "8101" + mode + size + "656f7468657200" + hash, plain, true},
		"setuid":                 {"a3" + "646d6f6465" + "1989ed" + size + hash, tree.Attributes{Perm: 0o755, Size: 5}, true},
		"a fifo":                 {"a3" + "646d6f6465" + "1911a4" + size + hash, plain, true},
		"no mode":                {"a2" + size + hash, tree.Attributes{}, false},
		"no size":                {"a2" + mode + hash, tree.Attributes{}, false},
		"no hash":                {"a2" + mode + size, tree.Attributes{}, false},
		"one three times":        {"a3" + mode + mode + mode, tree.Attributes{}, false},
		"mode of text":           {"a3" + "646d6f6465" + "63363434" + size + hash, tree.Attributes{}, false},
		"size below zero":        {"a3" + mode + "6473697a65" + "20" + hash, tree.Attributes{}, false},
		"size above every limit": {"a3" + mode + "6473697a65" + "1bffffffffffffffff" + hash, tree.Attributes{}, false},
		"size null":              {"a3" + mode + "6473697a65" + "f6" + hash, tree.Attributes{}, false},
		"short hash":             {"a3" + mode + size + "66626c616b6533" + "581f" + zeros(31), tree.Attributes{}, false},
		"hash of text":           {"a3" + mode + size + "66626c616b6533" + "7820" + zeros(32), tree.Attributes{}, false},
		"cut off":                {"a3" + mode + size + "66626c616b6533" + "5820", tree.Attributes{}, false},
		"bytes behind":           {"a3" + mode + size + hash + "00", tree.Attributes{}, false},
		"a list":                 {"83" + mode + size, tree.Attributes{}, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var d tree.Data
			if c.hex != "" {
				d.Metadata = unhex(t, c.hex)
			}
			if got, ok := d.Attributes(); got != c.want || ok != c.ok {
				t.Errorf("got %+v, %v, want %+v, %v", got, ok, c.want, c.ok)
			}
		})
	}
}

func TestModeReadsAsInLs(t *testing.T) {
	for want, a := range map[string]tree.Attributes{
		"-rw-r--r--": {Perm: 0o644}, "lrwxrwxrwx": {Perm: 0o777, Symlink: true}, "----------": {}, "-rwxr-x--x": {Perm: 0o751},
	} {
		if got := a.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// FuzzAttributes reads attributes of what a node brought, as all of them are read, and of bare bytes.
func FuzzAttributes(f *testing.F) {
	good := tree.Attributes{Perm: 0o644, Size: math.MaxUint32, Hash: bucket.Hash{1}}.Metadata()
	f.Add(good)
	f.Add([]byte{0xa0})
	f.Add(append([]byte{0xa4, 0x61, 'a', 0x81, 0x01}, good[1:]...))
	f.Fuzz(func(t *testing.T, metadata []byte) {
		bare := tree.Data{Link: rawLink, Metadata: metadata}
		check := func(d tree.Data) tree.Attributes {
			a, ok := d.Attributes()
			if !ok && a != (tree.Attributes{}) {
				t.Errorf("got %+v of what says nothing", a)
			}
			if a.Perm > 0o777 || a.Size > tree.MaxPlainSize {
				t.Errorf("got %+v", a)
			}
			return a
		}
		a := check(bare)
		b, err := (&tree.Node{Links: map[string]tree.Entry{"file": bare}}).Encode()
		if err != nil {
			return
		}
		n, err := tree.DecodeNode(b)
		if err != nil {
			t.Fatalf("got %v from what Encode wrote", err)
		}
		if got := check(n.Links["file"].(tree.Data)); got != a {
			t.Errorf("got %+v through a node, want %+v", got, a)
		}
	})
}
