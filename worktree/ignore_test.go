package worktree_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"headwater/worktree"

	"github.com/google/go-cmp/cmp"
)

func TestRulesMeanWhatTheyMeanToGit(t *testing.T) {
	tests := map[string]struct{ rules, want string }{
		"a name, anywhere":                    {"x", "a/y y"},
		"a name from the top on":              {"/x", "a/x a/y y"},
		"an extension":                        {"*.o", "a/x a/y x y"},
		"a directory":                         {"a/", "x y"},
		"a directory's name on a file":        {"x/", "a/x a/y x y"},
		"what a directory holds, but for one": {"/a/*\n!/a/x", "a/x x y"},
		"two stars, but for one":              {"a/**\n!a/x", "a/x x y"},
		"taken back in vain":                  {"a/\n!a/x", "x y"},
		"stars in front":                      {"**/x", "a/y y"},
		"a class that excludes":               {"[!x]", "x"},
		"braces, which are nothing special":   {"{x,y}\nx\\}", "a/x a/y x y"},
		"a comment, blanks and a CR":          {"# a\n\n   \nx   \r\n\\#y\r\n", "a/y y"},
		"nothing of a name":                   {"!\n/\n", "a/x a/y x y"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, map[string]string{"x": "", "y": "", "a/x": "", "a/y": ""})
			write(t, dir, map[string]string{worktree.IgnoreFile: tt.rules})
			got := slices.Sorted(maps.Keys(scan(t, dir, nil).Files))
			got = slices.DeleteFunc(got, func(p string) bool { return p == worktree.IgnoreFile })
			if want := strings.Fields(tt.want); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestRulesAgreeWithGitOnRandomTrees(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	pattern := func() string {
		p := pick("", "", "!") + pick("", "", "/", "**/")
		for range 1 + r.IntN(3) {
			p += pick("a", "b", "c", "a*", "*", "**", "?", "[ab]", "[!a]", "a.b", "*.b", `\a`) + "/"
		}
		if r.IntN(3) > 0 {
			p = strings.TrimSuffix(p, "/")
		}
		return p
	}
	for range 40 {
		dir := t.TempDir()
		for range 25 {
			p := pick("a", "b", "c", "a.b", "b.b", "abc")
			for range r.IntN(4) {
				p += "/" + pick("a", "b", "c", "a.b", "b.b", "abc")
			}
			name := filepath.Join(dir, p)
			if os.MkdirAll(filepath.Dir(name), 0o755) == nil {
				_ = os.WriteFile(name, nil, 0o644) // a directory may have the name
			}
		}
		for _, at := range []string{"", "a"} {
			if info, err := os.Stat(filepath.Join(dir, at)); err != nil || !info.IsDir() {
				continue
			}
			var rules []string
			for range 1 + r.IntN(5) {
				rules = append(rules, pattern())
			}
			text := []byte(strings.Join(rules, "\n"))
			for _, name := range []string{worktree.IgnoreFile, ".gitignore"} {
				if err := os.WriteFile(filepath.Join(dir, at, name), text, 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
		own := func(p string) bool { return strings.HasSuffix(p, "ignore") }
		got := slices.DeleteFunc(slices.Sorted(maps.Keys(scan(t, dir, nil).Files)), own)
		want := slices.DeleteFunc(gitFiles(t, dir), own)
		if diff := cmp.Diff(want, got); !slices.Equal(want, got) {
			top, _ := os.ReadFile(filepath.Join(dir, ".gitignore"))
			below, _ := os.ReadFile(filepath.Join(dir, "a", ".gitignore"))
			t.Fatalf("rules %q, in a %q: git and we differ (-git +we):\n%s", top, below, diff)
		}
	}
}

// gitFiles lists what git does not ignore.
func gitFiles(t *testing.T, dir string) []string {
	t.Helper()
	git := func(args ...string) []byte {
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "core.excludesFile=/dev/null"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "HOME="+dir)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(fmt.Errorf("git %v: %w: %s", args, err, &stderr))
		}
		return out
	}
	git("init", "-q")
	out := git("ls-files", "-z", "--others", "--exclude-standard")
	if err := os.RemoveAll(filepath.Join(dir, ".git")); err != nil {
		t.Fatal(err)
	}
	files := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	slices.Sort(files)
	return slices.DeleteFunc(files, func(p string) bool { return p == "" })
}

func TestWhatTheRecordHasIsNotIgnored(t *testing.T) {
	m, dir := &memory{}, t.TempDir()
	l := listing(t, m, map[string]string{"build/kept": "1", "x.log": "2"})
	_, rec := checkout(t, dir, l, nil, m, worktree.CheckoutOptions{})
	write(t, dir, map[string]string{worktree.IgnoreFile: "build/\n*.log\n", "build/new": "3", "y.log": "4", "build/sub/new": "5"})
	s := scan(t, dir, rec)
	if got, want := slices.Sorted(maps.Keys(s.Files)), []string{worktree.IgnoreFile, "build/kept", "x.log"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
