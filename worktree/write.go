package worktree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"headwater/bucket"
	"headwater/tree"
)

// staged is a file that was written under a temporary name, or a link that is going to be made.
type staged struct {
	job
	dir    *dir // to be released
	name   string
	temp   string      // its temporary name; empty for a link to be made under its own
	target string      // of a link
	info   fs.FileInfo // of the temporary file
}

// drop gives up a staged file.
func (s *staged) drop() {
	if s.temp != "" {
		s.dir.root.Remove(s.temp)
	}
	s.dir.release()
}

// writeAll fetches files, several at a time, and has them settled in batches.
func (c *checkout) writeAll(ctx context.Context, p *plan) error {
	if len(p.write) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan staged, workers)
	settled := make(chan error, 1)
	go func() {
		err := c.settleAll(done, cancel)
		settled <- err
	}()
	err := c.stageAll(ctx, p.write, done)
	close(done)
	if settleErr := <-settled; settleErr != nil {
		return settleErr // the first reason; err is that the rest was cancelled
	}
	return err
}

// stageAll writes files under temporary names.
func (c *checkout) stageAll(ctx context.Context, jobs []job, done chan<- staged) error {
	o, err := c.opener()
	if err != nil {
		return err
	}
	defer o.close()
	var openErr error
	open := func(yield func(*staged) bool) {
		for _, j := range jobs {
			d, name, err := o.parent(j.path)
			if err != nil {
				openErr = fmt.Errorf("%.200q: %w", j.path, err)
				return
			}
			s := &staged{job: j, dir: d.retain(), name: name}
			if !yield(s) {
				return
			}
		}
	}
	err = each(ctx, open, (*staged).cost, func(ctx context.Context, s *staged) error {
		if err := c.stage(ctx, s); err != nil {
			s.drop()
			return fmt.Errorf("%.200q: %w", s.path, err)
		}
		done <- *s // whoever takes it lasts until the channel is closed
		return nil
	})
	return errors.Join(openErr, err)
}

// cost is about what the file takes in memory while it is fetched.
func (s *staged) cost() int64 {
	if !s.known {
		return largeCost
	}
	return cost(int64(s.attr.Size))
}

// stage fetches one file.
func (c *checkout) stage(ctx context.Context, s *staged) error {
	if s.attr.Symlink {
		return c.stageLink(ctx, s)
	}
	var f *os.File
	create := func() (err error) {
		s.temp = c.temporary()
		f, err = s.dir.root.OpenFile(s.temp, os.O_RDWR|os.O_CREATE|os.O_EXCL|openFlags, 0o600)
		return err
	}
	plain, err := tree.Fetch(ctx, c.r, s.data, func() (tree.Spool, error) {
		err := create()
		return f, err
	})
	if err == nil {
		if f != nil {
			err = plain.WriteInPlace(f)
		} else if err = create(); err == nil {
			_, err = plain.WriteTo(f)
		}
	}
	if f == nil {
		return err
	}
	if err == nil {
		s.attr.Size, s.attr.Hash = uint64(plain.Size()), plain.Hash()
		err = c.finishFile(s, f)
	}
	return errors.Join(err, f.Close())
}

// finishFile gives a written file its permissions, and makes it durable unless that is done for all together.
func (c *checkout) finishFile(s *staged, f *os.File) (err error) {
	if err = f.Chmod(s.attr.Perm); err != nil {
		return err
	}
	if c.sync.each(s.dir) {
		if err = f.Sync(); err != nil {
			return err
		}
	}
	s.info, err = f.Stat()
	return err
}

// stageLink fetches the target of a symbolic link. One that is not to be made has no target afterwards.
func (c *checkout) stageLink(ctx context.Context, s *staged) error {
	b, err := tree.ReadFile(ctx, c.r, s.data, maxTarget)
	if bucket.ClassOf(err) == bucket.TooLarge {
		return nil
	}
	if err != nil {
		return err
	}
	target := string(b)
	if target == "" || bytes.IndexByte(b, 0) >= 0 || !c.o.OutsideLinks && !staysInside(s.path, target) {
		return nil
	}
	s.target = filepath.FromSlash(target)
	if s.have == nil {
		return nil
	}
	s.temp = c.temporary()
	if err := s.dir.root.Symlink(s.target, s.temp); err != nil {
		s.temp = ""
		return err
	}
	return nil
}

// staysInside says whether a symbolic link at path cannot lead out of the directory. Its target has to begin with as many ".."
// as lead to the top at most, and to go down from there: a ".." behind a name could go up from wherever another link
// of that name leads.
func staysInside(path, target string) bool {
	if strings.HasPrefix(target, "/") || filepath.Separator != '/' && strings.ContainsAny(target, `\:`) {
		return false
	}
	up, down := 0, false
	for name := range strings.SplitSeq(target, "/") {
		switch name {
		case "", ".":
		case "..":
			if up++; down {
				return false
			}
		default:
			down = true
		}
	}
	return up <= strings.Count(path, "/")
}

// What is settled together, at most.
const (
	batchFiles  = 4096
	batchOctets = 256 << 20
	batchDirs   = 512 // each is an open file
)

// settleAll settles staged files until there are no more. After an error it stops the others, and drops what still comes.
func (c *checkout) settleAll(in <-chan staged, stop func()) (err error) {
	var all []staged
	var octets int64
	dirs := map[*dir]bool{}
	flush := func() {
		if err = c.settle(all, err); err != nil {
			stop()
		}
		all, octets = all[:0], 0
		clear(dirs)
	}
	for s := range in {
		all = append(all, s)
		octets += int64(s.attr.Size)
		dirs[s.dir] = true
		if len(all) >= batchFiles || octets >= batchOctets || len(dirs) >= batchDirs || err != nil {
			flush()
		}
	}
	flush()
	return err
}

// settle makes staged files durable and gives them their names. Where err is an error already it drops them.
func (c *checkout) settle(all []staged, err error) error {
	if err == nil && len(all) > 0 {
		err = c.sync.all()
	}
	began := time.Now()
	for i := range all {
		s := &all[i]
		if err != nil {
			s.drop()
			continue
		}
		if err = c.place(s, began); err != nil {
			err = fmt.Errorf("%.200q: %w", s.path, err)
			s.drop()
			continue
		}
		s.dir.release()
	}
	return err
}

// place gives one file its name.
func (c *checkout) place(s *staged, began time.Time) error {
	if s.attr.Symlink && s.target == "" {
		c.skipped[s.path] = "a symbolic link that leads, or may lead, out of the directory"
		return nil
	}
	switch err := s.rename(); {
	case errors.Is(err, fs.ErrExist):
		c.late = append(c.late, s.path)
		if s.temp != "" {
			return s.dir.root.Remove(s.temp)
		}
		return nil
	case err != nil:
		return err
	}
	c.touch(s.dir)
	c.out.Files[s.path] = s.entry(began)
	c.res.Written++
	c.res.Octets += int64(s.attr.Size)
	if c.o.Progress != nil {
		c.o.Progress(int64(c.res.Written), c.res.Octets)
	}
	return nil
}

// rename gives a staged file its name, unless something else has it: then the error is fs.ErrExist.
func (s *staged) rename() error {
	root := s.dir.root
	switch {
	case s.have != nil:
		if !s.dir.unchanged(s.name, s.have) {
			return fs.ErrExist
		}
		return root.Rename(s.temp, s.name)
	case s.temp == "":
		return root.Symlink(s.target, s.name)
	}
	err := root.Link(s.temp, s.name)
	if err == nil {
		return root.Remove(s.temp)
	}
	if errors.Is(err, fs.ErrExist) {
		return err
	}
	// A file system without hard links.
	if _, err := root.Lstat(s.name); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, fs.ErrExist)
	}
	return root.Rename(s.temp, s.name)
}

// entry returns what the record says of a file that was written. Its times are kept only where whoever changes it from now
// on, when it has its name, leaves other ones.
func (s *staged) entry(began time.Time) Entry {
	e := entryOf(s.job, File{Attributes: s.attr})
	if s.info == nil || !older(s.info.ModTime().UnixNano(), began) {
		return e
	}
	now, err := s.dir.root.Lstat(s.name)
	if err == nil && os.SameFile(now, s.info) && now.ModTime().Equal(s.info.ModTime()) && now.Size() == s.info.Size() {
		e.stamp = stampOf(now)
	}
	return e
}
