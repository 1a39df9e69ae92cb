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
		_ = s.dir.root.Remove(s.temp)
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
	err = each(ctx, workers, open, (*staged).cost, func(ctx context.Context, s *staged) error {
		if err := c.stage(ctx, s); err != nil {
			s.drop()
			return fmt.Errorf("%.200q: %w", s.path, err)
		}
		done <- *s // the receiver lasts until the channel is closed
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
	s.temp = c.temporary()
	f, err := s.dir.root.OpenFile(s.temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|openFlags, 0o600)
	if err != nil {
		s.temp = ""
		return err
	}
	size, hash, err := tree.Restore(ctx, c.r, s.data, f)
	if err == nil {
		s.attr.Size, s.attr.Hash = uint64(size), hash
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

// staysInside reports whether a symbolic link at path cannot lead out of the directory. Its target may begin with at most as many
// ".." as lead to the top, and must go down from there: a ".." behind a name could go up from wherever another link of that name
// leads.
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
