package test_test

import (
	"go/ast"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// unwanted are words that have a plainer one, in code and in documents.
var unwanted = []struct {
	word    *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`(?i)\boctets?\b`), "byte"},
	{regexp.MustCompile(`(?i)\b(says|tells|said|told) whether\b`), "reports whether"},
	{regexp.MustCompile(`(?i)\bbe it (that|because|by)\b`), "a plain list"},
}

// needed are lines that have an unwanted word all the same.
var needed = map[string]string{
	"logstore/guards.go": "octets", // stands in the files of existing logs
	"tree/mime.go":       "application/octet-stream",
	"test/words_test.go": "",
}

// renamed are names of types and functions that had a better one: see "Words" in docs/ARCHITECTURE.md.
var renamed = []string{
	"desk", "edition", "followers", "Gathering", "hoard", "knows", "lanes", "leg", "offer", "pace", "parcel", "patiently", "quota",
	"refrain", "route", "spool", "strand", "trail", "walks", "watchdog", "withDesk",
}

func TestWords_ArePlain(t *testing.T) {
	for _, name := range textFiles(t, "..") {
		text, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			for _, fault := range unwantedIn(name, line) {
				t.Errorf("%s:%d: %s", name, i+1, fault)
			}
		}
	}
}

func TestWords_OldNamesAreGone(t *testing.T) {
	for _, s := range moduleSources(t) {
		for _, name := range declared(s.file) {
			if slices.Contains(renamed, name) {
				t.Errorf("%s/%s declares %s, which had another name", s.pkg, s.name, name)
			}
		}
	}
}

func TestWords_PlantedOnesAreFound(t *testing.T) {
	for _, line := range []string{"// n is in octets.", "// It says whether it is.", "Octet by octet", "be it that it is"} {
		if len(unwantedIn("chain/doc.go", line)) == 0 {
			t.Errorf("nothing is found in %q", line)
		}
	}
	for name, line := range map[string]string{"logstore/guards.go": "a file of octets", "chain/doc.go": "It reports whether it is, in bytes."} {
		if faults := unwantedIn(name, line); len(faults) > 0 {
			t.Errorf("%s: got %q in %q", name, faults, line)
		}
	}
}

func unwantedIn(name, line string) (faults []string) {
	if allowed, ok := needed[name]; ok && strings.Contains(line, allowed) {
		return nil
	}
	for _, u := range unwanted {
		if found := u.word.FindString(line); found != "" {
			faults = append(faults, found+": say "+u.instead)
		}
	}
	return faults
}

// textFiles lists the Go files and documents below a directory, but those of tools and what is built.
func textFiles(t *testing.T, root string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir() && slices.Contains([]string{".git", "bin", "tools", "testdata"}, d.Name()):
			return fs.SkipDir
		case strings.HasSuffix(name, ".go"), strings.HasSuffix(name, ".md"):
			names = append(names, filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil || len(names) < 100 {
		t.Fatalf("got %d files, %v, want those of the module", len(names), err)
	}
	return names
}

// declared lists the types, functions and methods that a file declares, without repetition.
func declared(f *ast.File) []string {
	names := map[string]bool{}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			names[d.Name.Name] = true
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if typ, ok := spec.(*ast.TypeSpec); ok {
					names[typ.Name.Name] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}
