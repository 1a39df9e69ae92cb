package worktree

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"

	"headwater/tree"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// plan is what a checkout is going to do.
type plan struct {
	clear      []string // files, and with Force whatever else, where the listing wants something else
	clearDirs  []string // directories likewise, which are empty by then
	dirs       []string // to be made, ascending
	write      []job    // ascending
	modes      []job    // files of which only the permissions change
	remove     []string // files that the listing does not have
	removeDirs []string // directories that it does not have, deepest first; only those that are empty by then go
	left       []string
	conflicts  []string
	same       map[string]Entry // files that are as they should be
	pending    map[string]tree.Attributes
}

// job is one file to be written.
type job struct {
	path  string
	data  tree.Data
	attr  tree.Attributes // size and hash are zero if the listing does not say
	known bool            // the listing, or the record, says
	have  *File           // what is replaced; nil for nothing
}

// changes reports whether there is anything to do.
func (p *plan) changes() bool {
	return len(p.clear)+len(p.clearDirs)+len(p.dirs)+len(p.write)+len(p.modes)+len(p.remove)+len(p.removeDirs) > 0
}

// plan compares the listing with what is there. Nothing is changed; if something is in the way the error is a
// [*ConflictError].
func (c *checkout) plan(ctx context.Context) (p *plan, err error) {
	if c.folds, err = c.probe(); err != nil {
		return nil, err
	}
	return c.planFor(ctx)
}

// planFor plans for a file system that is known to fold names, or not to.
func (c *checkout) planFor(ctx context.Context) (*plan, error) {
	c.skip()
	p := &plan{same: map[string]Entry{}, pending: map[string]tree.Attributes{}}
	for _, path := range slices.Sorted(maps.Keys(c.l.Files)) {
		if !c.within(path) || c.skipped[path] != "" {
			continue
		}
		if err := c.planFile(ctx, p, path); err != nil {
			return nil, err
		}
	}
	for path := range c.l.Dirs {
		if _, ok := c.disk.dirs[path]; !ok && c.near(path) && !c.under(path, c.isSkipped) {
			p.dirs = append(p.dirs, path)
		}
	}
	slices.Sort(p.dirs)
	c.planRest(p)
	if len(p.conflicts) > 0 {
		slices.Sort(p.conflicts)
		return nil, &ConflictError{Paths: slices.Compact(p.conflicts)}
	}
	return p, nil
}

// skip finds what of the listing cannot be made here: names that two files would share, and names of Windows' devices.
func (c *checkout) skip() {
	if c.folds {
		for _, group := range tree.Collisions(c.l) {
			for _, path := range group[1:] {
				c.skipped[path] = fmt.Sprintf("this file system does not tell it from %q", group[0])
			}
		}
	}
	check := func(path string) {
		_, name := splitPath(path)
		switch {
		case isTemporary(name):
			c.skipped[path] = "a name that Headwater gives its temporary files"
		case runtime.GOOS == "windows" && tree.IsDevice(name):
			c.skipped[path] = "the name of a device on Windows"
		}
	}
	for path := range c.l.Files {
		check(path)
	}
	for path := range c.l.Dirs {
		check(path)
	}
	if len(c.skipped) == 0 {
		return
	}
	for path := range c.l.Files { // what stands in a directory that is not made
		ancestors(path, func(dir string) bool {
			if reason := c.skipped[dir]; reason != "" && c.skipped[path] == "" {
				c.skipped[path] = reason
			}
			return true
		})
	}
}

func (c *checkout) isSkipped(path string) bool { return c.skipped[path] != "" }

// under reports whether is holds for a path or one of the directories above it.
func (c *checkout) under(path string, is func(string) bool) bool {
	found := is(path)
	ancestors(path, func(dir string) bool {
		found = found || is(dir)
		return !found
	})
	return found
}

// planFile plans one file of the listing.
func (c *checkout) planFile(ctx context.Context, p *plan, path string) error {
	j := c.job(path)
	f, found := c.disk.files[path]
	if !found {
		p.add(&p.write, j) // what else may stand there is for planRest
		return nil
	}
	j.have = &f
	if !j.known && !c.rec.ours(path, f) && !c.o.Force {
		if err := c.learn(ctx, &j); err != nil {
			return err
		}
	}
	same := j.known && contentOf(j.attr) == contentOf(f.Attributes) && j.attr.Symlink == f.Attributes.Symlink
	switch {
	case same && j.attr.Perm == f.Attributes.Perm:
		c.res.Unchanged++
		p.same[path] = entryOf(j, f)
	case !c.o.Force && !c.rec.ours(path, f):
		p.conflicts = append(p.conflicts, path)
	case same && f.links == 1: // else the permissions would change under the file's other names too
		p.add(&p.modes, j)
	default:
		p.add(&p.write, j)
	}
	return nil
}

// job returns what the listing says of a file.
func (c *checkout) job(path string) job {
	j := job{path: path, data: c.l.Files[path]}
	if j.attr, j.known = j.data.Attributes(); j.known {
		if j.attr.Symlink {
			j.attr.Perm = linkPerm
		}
		return j
	}
	if e, ok := c.rec.Files[path]; ok && e.Data.Link == j.data.Link && e.Data.Secret == j.data.Secret {
		j.attr, j.known = e.Attributes, true
		return j
	}
	j.attr.Perm = defaultPerm
	return j
}

func (p *plan) add(list *[]job, j job) {
	*list = append(*list, j)
	if j.known {
		p.pending[j.path] = j.attr
	}
}

// entryOf returns what the record says of a file that is as it should be.
func entryOf(j job, f File) Entry {
	e := f.entry()
	e.Attributes = j.attr
	if _, ok := j.data.Attributes(); !ok {
		e.Data = bare(j.data)
	}
	return e
}

// planRest plans for what is there and is not a file of the listing.
func (c *checkout) planRest(p *plan) {
	clash := c.clashes()
	inWay := func(path string) bool {
		return c.wantsDir(path) || c.under(path, c.wantsFile) || clash(path)
	}
	for _, path := range slices.Sorted(maps.Keys(c.disk.files)) {
		ours := c.rec.ours(path, c.disk.files[path])
		switch {
		case c.wantsFile(path), c.under(path, c.isSkipped):
		case inWay(path):
			p.clearAway(path, ours || c.o.Force)
		case !c.within(path):
		case ours || c.o.Delete:
			p.remove = append(p.remove, path)
		default:
			p.left = append(p.left, path)
		}
	}
	for path, isDir := range c.disk.others {
		if c.wantsFile(path) || inWay(path) {
			p.clearAway(path, c.o.Force && !isDir) // not a directory that was not looked into
		}
	}
	slices.Sort(p.clear)
	for path := range c.disk.dirs {
		_, was := c.rec.Dirs[path]
		switch {
		case c.wantsDir(path), c.under(path, c.isSkipped):
		case inWay(path):
			p.clearDirs = append(p.clearDirs, path)
		case c.within(path) && (was || c.o.Delete):
			p.removeDirs = append(p.removeDirs, path)
		}
	}
	deepestFirst := func(a, b string) int { return cmp.Compare(b, a) }
	slices.SortFunc(p.clearDirs, deepestFirst)
	slices.SortFunc(p.removeDirs, deepestFirst)
}

func (p *plan) clearAway(path string, allowed bool) {
	if allowed {
		p.clear = append(p.clear, path)
	} else {
		p.conflicts = append(p.conflicts, path)
	}
}

// wantsFile reports whether a path is to be a file.
func (c *checkout) wantsFile(path string) bool {
	_, ok := c.l.Files[path]
	return ok && c.within(path) && !c.isSkipped(path)
}

// wantsDir reports whether a path is to be a directory.
func (c *checkout) wantsDir(path string) bool {
	_, ok := c.l.Dirs[path]
	return ok && c.near(path) && !c.under(path, c.isSkipped)
}

// clashes returns a function that reports whether a path that is there, and not wanted, is another spelling of a wanted
// one, which the file system does not tell apart: a file whose name was given capitals, say.
func (c *checkout) clashes() func(path string) bool {
	if !c.folds {
		return func(string) bool { return false }
	}
	wanted := map[string]bool{}
	for path := range c.l.Files {
		wanted[fold(path)] = true
	}
	for path := range c.l.Dirs {
		wanted[fold(path)] = true
	}
	return func(path string) bool { return !c.wantsFile(path) && !c.wantsDir(path) && wanted[fold(path)] }
}

// fold returns what is the same for all spellings of a path that a file system may not tell apart.
func fold(path string) string { return norm.NFC.String(cases.Fold().String(norm.NFC.String(path))) }
