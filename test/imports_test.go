package test_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// module is the path that all packages of ours begin with.
const module = "headwater"

// arrows says for each package which others of ours it may import: cmd → peer → {jetstream, worktree} → {consumer, publisher,
// tree} → chain → {blobstore, logstore} → {bucket, durable}. A package that is not here may not exist.
var arrows = map[string][]string{
	"bucket":               {},
	"durable":              {},
	"bucket/buckettest":    {"bucket"},
	"blobstore":            {"bucket", "durable"},
	"blobstore/blobtest":   {"blobstore", "bucket"},
	"logstore":             {"bucket", "durable"},
	"logstore/logtest":     {"logstore", "bucket"},
	"chain":                {"blobstore", "logstore", "bucket"},
	"consumer":             {"chain", "blobstore", "logstore", "bucket"},
	"jetstream":            {"consumer", "blobstore", "bucket", "durable"},
	"jetstream/embedded":   {"durable"},
	"tree":                 {"blobstore", "bucket"},
	"worktree":             {"tree", "blobstore", "bucket", "durable"},
	"cmd/headwater":        {"peer", "peer/local", "jetstream", "jetstream/embedded", "consumer", "worktree", "tree", "blobstore", "logstore", "bucket", "durable"},
	"test":                 {"peer", "peer/local", "jetstream", "consumer", "worktree", "tree", "blobstore", "logstore", "bucket"},
	"test/natstest":        {},
	"publisher":            {"blobstore", "logstore", "bucket"},
	"peer":                 {"peer/local", "jetstream", "worktree", "consumer", "publisher", "tree", "blobstore", "logstore", "bucket", "durable"},
	"peer/local/localtest": {"peer/local", "blobstore", "bucket", "consumer", "logstore"},
	"peer/local":           {"blobstore", "bucket", "consumer", "durable", "logstore"},
}

// testPackages exist for tests: only tests and each other may import them.
var testPackages = []string{"bucket/buckettest", "blobstore/blobtest", "logstore/logtest", "peer/local/localtest", "test", "test/natstest"}

// fences keep a library to the packages that may know it, tests included. A fence holds for everything below its path.
var fences = []struct {
	library string
	within  []string
	why     string
}{
	{"github.com/nats-io/nats.go", []string{"jetstream", "jetstream/embedded", "test", "test/natstest"}, "only jetstream knows the broker"},
	{"github.com/synadia-io/orbit.go", []string{"jetstream", "test", "test/natstest"}, "only jetstream knows the broker"},
	{"github.com/nats-io/nats-server", []string{"jetstream/embedded", "test/natstest"}, "only jetstream/embedded embeds a server, and natstest starts them for tests"},
	{"github.com/dgraph-io/badger", []string{"logstore"}, "only logstore knows its database"},
}

// outside is what bucket may not import: it does no I/O, reads no clock and logs nothing.
var outside = []string{"database", "io/fs", "io/ioutil", "log", "net", "os", "syscall", "testing", "time"}

// natsjs is the one name under which nats.go's own package jetstream is imported.
const natsjs = "github.com/nats-io/nats.go/jetstream"

var vagueName = regexp.MustCompile(`util|helper|manager|common`)

// source is one Go file of the module.
type source struct {
	pkg  string // directory below the module, with slashes
	name string // file name
	file *ast.File
}

// isTest reports whether only go test compiles the file.
func (s source) isTest() bool { return strings.HasSuffix(s.name, "_test.go") }

// forTests reports whether the file is a test or belongs to a package for tests.
func (s source) forTests() bool { return s.isTest() || slices.Contains(testPackages, s.pkg) }

// rule finds what is wrong with a file, one sentence each.
type rule struct {
	name  string
	check func(source) []string
}

var rules = []rule{
	{"Arrows", checkArrows},
	{"Fences", checkFences},
	{"TestPackagesStayInTests", checkTestPackages},
	{"BucketIsPure", checkBucket},
	{"Alias", checkAlias},
	{"NoInit", checkInit},
	{"Names", checkNames},
}

func TestImports(t *testing.T) {
	sources := moduleSources(t)
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			for _, s := range sources {
				for _, fault := range r.check(s) {
					t.Errorf("%s: %s", path.Join(s.pkg, s.name), fault)
				}
			}
		})
	}
}

func TestImportsCoverEveryPackage(t *testing.T) {
	found := map[string]bool{}
	for _, s := range moduleSources(t) {
		found[s.pkg] = true
	}
	for _, pkg := range slices.Sorted(maps.Keys(found)) {
		if _, ok := arrows[pkg]; !ok {
			t.Errorf("package %s has no arrows: say in this file what it may import", pkg)
		}
	}
}

func checkArrows(s source) (faults []string) {
	may, known := arrows[s.pkg]
	for _, imp := range imports(s) {
		pkg, ours := strings.CutPrefix(imp.path, module+"/")
		switch {
		case !ours || !known || slices.Contains(may, pkg):
		case s.forTests() && slices.Contains(testPackages, pkg), s.isTest() && pkg == s.pkg:
		default:
			faults = append(faults, fmt.Sprintf("imports %s, but %s may import only %q of ours", imp.path, s.pkg, may))
		}
	}
	return faults
}

func checkFences(s source) (faults []string) {
	for _, imp := range imports(s) {
		for _, f := range fences {
			if below(imp.path, f.library) && !slices.Contains(f.within, s.pkg) {
				faults = append(faults, fmt.Sprintf("imports %s: %s", imp.path, f.why))
			}
		}
	}
	return faults
}

func checkTestPackages(s source) (faults []string) {
	for _, imp := range imports(s) {
		pkg, ours := strings.CutPrefix(imp.path, module+"/")
		if !s.forTests() && (below(imp.path, "testing") || ours && slices.Contains(testPackages, pkg)) {
			faults = append(faults, fmt.Sprintf("imports %s, which is for tests alone", imp.path))
		}
	}
	return faults
}

func checkBucket(s source) (faults []string) {
	if s.pkg != "bucket" || s.isTest() {
		return nil
	}
	for _, imp := range imports(s) {
		if slices.ContainsFunc(outside, func(p string) bool { return below(imp.path, p) }) {
			faults = append(faults, fmt.Sprintf("imports %s, but bucket does no I/O, reads no clock and logs nothing", imp.path))
		}
	}
	return faults
}

func checkAlias(s source) (faults []string) {
	for _, imp := range imports(s) {
		if imp.path == natsjs && imp.alias != "natsjs" {
			faults = append(faults, fmt.Sprintf("imports %s as %q, want natsjs", imp.path, imp.alias))
		}
	}
	return faults
}

func checkInit(s source) (faults []string) {
	for _, d := range s.file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && !s.isTest() && f.Recv == nil && f.Name.Name == "init" {
			faults = append(faults, "declares func init: do that work in a constructor")
		}
	}
	return faults
}

func checkNames(s source) (faults []string) {
	for _, name := range []string{s.file.Name.Name, path.Base(s.pkg)} {
		if word := vagueName.FindString(name); word != "" {
			faults = append(faults, fmt.Sprintf("is in package %s: %q names no thing; name it after what it holds", name, word))
			break
		}
	}
	return faults
}

// imported is one import of a file. The alias is empty if it has none.
type imported struct{ path, alias string }

func imports(s source) []imported {
	var all []imported
	for _, spec := range s.file.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser has seen to it
		}
		imp := imported{path: p}
		if spec.Name != nil {
			imp.alias = spec.Name.Name
		}
		all = append(all, imp)
	}
	return all
}

// below reports whether p is the package or module root, or inside it.
func below(p, root string) bool { return p == root || strings.HasPrefix(p, root+"/") }

// moduleSources parses every Go file of the module's packages, whatever system it is for.
func moduleSources(t *testing.T) []source {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=Dir,ImportPath", "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v: %s", err, exit.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	var all []source
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct{ Dir, ImportPath string }
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		files, err := filepath.Glob(filepath.Join(p.Dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			all = append(all, parse(t, strings.TrimPrefix(p.ImportPath, module+"/"), name, nil))
		}
	}
}

// parse reads a file's imports and declarations, from text if that is not nil.
func parse(t *testing.T, pkg, name string, text any) source {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return source{pkg: pkg, name: filepath.Base(name), file: f}
}

// A program that only connects does not carry a server.
func TestClientsDoNotLinkTheServer(t *testing.T) {
	for _, pkg := range []string{"jetstream", "peer"} {
		cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", module+"/"+pkg)
		cmd.Dir = ".."
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list -deps %s: %v", pkg, err)
		}
		for dep := range strings.Lines(string(out)) {
			if below(strings.TrimSpace(dep), "github.com/nats-io/nats-server") {
				t.Errorf("%s links %s", pkg, strings.TrimSpace(dep))
			}
		}
	}
}

// The rules are worth what they find.
func TestImportsFindsWhatIsWrong(t *testing.T) {
	tests := []struct {
		name, rule string // the one rule that must object; empty: none
		pkg, file  string
		text       string
	}{
		{"inward", "", "consumer", "a.go", `package consumer; import "headwater/bucket"`},
		{"outward", "Arrows", "consumer", "a.go", `package consumer; import "headwater/jetstream"`},
		{"outward in a test", "Arrows", "bucket", "a_test.go", `package bucket_test; import "headwater/tree"`},
		{"sideways", "Arrows", "logstore", "a.go", `package logstore; import "headwater/blobstore"`},
		{"itself in a test", "", "bucket", "a_test.go", `package bucket_test; import "headwater/bucket"`},
		{"suite in a test", "", "consumer", "a_test.go", `package consumer; import "headwater/logstore/logtest"`},
		{"suite of its contract", "", "logstore/logtest", "a.go", `package logtest; import ("testing"; "headwater/logstore")`},
		{"suite in a suite", "", "logstore/logtest", "a.go", `package logtest; import "headwater/bucket/buckettest"`},
		{"testing", "TestPackagesStayInTests", "tree", "a.go", `package tree; import "testing"`},
		{"testing below", "TestPackagesStayInTests", "tree", "a.go", `package tree; import "testing/fstest"`},
		{"nats", "Fences", "consumer", "a.go", `package consumer; import "github.com/nats-io/nats.go"`},
		{"nats in a test", "Fences", "consumer", "a_test.go", `package consumer; import "github.com/nats-io/nats.go/micro"`},
		{"nats where it belongs", "", "jetstream", "a.go", `package jetstream; import "github.com/nats-io/nats.go"`},
		{"nkeys is not nats.go", "", "cmd/headwater", "a.go", `package main; import "github.com/nats-io/nkeys"`},
		{"server in the client", "Fences", "jetstream", "a.go", `package jetstream; import "github.com/nats-io/nats-server/v2/server"`},
		{"server", "Fences", "test", "a_test.go", `package test; import "github.com/nats-io/nats-server/v2/server"`},
		{"badger", "Fences", "cmd/headwater", "a.go", `package main; import "github.com/dgraph-io/badger/v4"`},
		{"clock", "BucketIsPure", "bucket", "a.go", `package bucket; import "time"`},
		{"log below", "BucketIsPure", "bucket", "a.go", `package bucket; import "log/slog"`},
		{"files in a test", "", "bucket", "a_test.go", `package bucket_test; import "os"`},
		{"no alias", "Alias", "jetstream", "a.go", `package jetstream; import "github.com/nats-io/nats.go/jetstream"`},
		{"wrong alias", "Alias", "test", "a_test.go", `package test; import js "github.com/nats-io/nats.go/jetstream"`},
		{"alias", "", "jetstream", "a.go", `package jetstream; import natsjs "github.com/nats-io/nats.go/jetstream"`},
		{"init", "NoInit", "tree", "a.go", `package tree; func init() {}`},
		{"method named init", "", "tree", "a.go", `package tree; type t int; func (t) init() {}`},
		{"vague name", "Names", "tree", "a.go", `package treeutil`},
		{"vague directory", "Names", "cmd/common", "a.go", `package main`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := parse(t, tt.pkg, tt.file, tt.text)
			for _, r := range rules {
				faults := r.check(s)
				if want := r.name == tt.rule; want != (len(faults) > 0) {
					t.Errorf("got faults %q from rule %s, want some: %t", faults, r.name, want)
				}
			}
		})
	}
}
