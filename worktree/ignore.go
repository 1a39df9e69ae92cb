package worktree

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// IgnoreFile is the name of the files, in any directory, that say what in and below that directory is not to be listed. Their
// syntax and meaning is that of .gitignore. They are listed like other files.
const IgnoreFile = ".headwaterignore"

// maxIgnoreSize is the most bytes of such a file: 1 MiB.
const maxIgnoreSize = 1 << 20

// ignores are the rules of one directory, on top of those of the directories above it. nil has none.
type ignores struct {
	above *ignores
	base  string // the directory that the rules stand in
	rules []rule
}

// rule is one line of an ignore file.
type rule struct {
	pattern  string // as doublestar has it
	anchored bool   // from the directory of the file on; else for the last name, at any depth
	dirOnly  bool
	include  bool // takes back what an earlier rule said
}

// with returns the rules for the inside of d. An ignore file that is not a regular file has none, as in git.
func (g *ignores) with(d *dir, entries []fs.DirEntry) (*ignores, error) {
	i := slices.IndexFunc(entries, func(e fs.DirEntry) bool { return e.Name() == IgnoreFile })
	if i < 0 || !entries[i].Type().IsRegular() {
		return g, nil
	}
	b, err := readIgnores(d)
	if errors.Is(err, fs.ErrNotExist) {
		return g, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", d.join(IgnoreFile), err)
	}
	rules := parseRules(string(b))
	if len(rules) == 0 {
		return g, nil
	}
	return &ignores{above: g, base: d.path, rules: rules}, nil
}

func readIgnores(d *dir) ([]byte, error) {
	f, err := d.root.OpenFile(IgnoreFile, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, ErrChanged)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxIgnoreSize+1))
	if err == nil && len(b) > maxIgnoreSize {
		err = fmt.Errorf("more than %d bytes", maxIgnoreSize)
	}
	return b, err
}

func parseRules(text string) []rule {
	var rules []rule
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		if r, ok := parseRule(strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")); ok {
			rules = append(rules, r)
		}
	}
	return rules
}

func parseRule(s string) (r rule, ok bool) {
	if strings.HasPrefix(s, "#") {
		return rule{}, false
	}
	for strings.HasSuffix(s, " ") && !strings.HasSuffix(s, `\ `) {
		s = s[:len(s)-1]
	}
	s, r.include = strings.CutPrefix(s, "!")
	s, r.dirOnly = strings.CutSuffix(s, "/")
	r.anchored = strings.Contains(s, "/")
	s = strings.TrimPrefix(s, "/")
	if s == "" {
		return rule{}, false
	}
	// doublestar has alternatives in braces, git has not. And at the end of a pattern, two stars are one name at least.
	r.pattern = strings.NewReplacer("{", `\{`, "}", `\}`).Replace(s)
	if strings.HasSuffix(r.pattern, "/**") {
		r.pattern += "/*"
	}
	return r, true
}

// match reports whether the last rule that fits a path ignores it. The directories above it are known not to be ignored.
func (g *ignores) match(p string, isDir bool) bool {
	for ; g != nil; g = g.above {
		below := strings.TrimPrefix(strings.TrimPrefix(p, g.base), "/")
		for _, r := range slices.Backward(g.rules) {
			if r.match(below, isDir) {
				return !r.include
			}
		}
	}
	return false
}

// match reports whether the rule fits a path below the directory of its file.
func (r *rule) match(below string, isDir bool) bool {
	if r.dirOnly && !isDir {
		return false
	}
	if !r.anchored {
		below = below[strings.LastIndexByte(below, '/')+1:]
	}
	ok, err := doublestar.Match(r.pattern, below)
	return ok && err == nil
}
