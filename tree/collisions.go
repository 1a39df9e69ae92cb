package tree

import (
	"iter"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Collisions lists the paths that are one and the same for a file system that ignores case or the form of Unicode: names
// of one directory that differ in nothing else. Each group and the list of groups are ascending.
func Collisions(l *Listing) [][]string {
	fold := cases.Fold()
	first := make(map[string]string, len(l.Files)+len(l.Dirs))
	groups := map[string][]string{}
	for _, paths := range []iter.Seq[string]{maps.Keys(l.Files), maps.Keys(l.Dirs)} {
		for path := range paths {
			dir, name := splitPath(path)
			key := joinPath(dir, canonical(fold, name))
			if other, ok := first[key]; !ok {
				first[key] = path
			} else if groups[key] == nil {
				groups[key] = []string{other, path}
			} else {
				groups[key] = append(groups[key], path)
			}
		}
	}
	out := make([][]string, 0, len(groups))
	for _, g := range groups {
		slices.Sort(g)
		out = append(out, g)
	}
	slices.SortFunc(out, slices.Compare)
	return out
}

// canonical returns what is left of a name without case and form (Unicode D145, composed).
func canonical(fold cases.Caser, name string) string {
	for i := range len(name) {
		if name[i] >= utf8.RuneSelf {
			return norm.NFC.String(fold.String(norm.NFD.String(name)))
		}
	}
	return strings.ToLower(name)
}
