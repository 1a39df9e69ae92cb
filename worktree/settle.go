package worktree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// What is settled together, at most.
const (
	batchFiles = 4096
	batchBytes = 256 << 20
	batchDirs  = 512 // each is an open file
)

// settleAll settles staged files until there are no more. After an error it stops the others, and drops what still comes.
func (c *checkout) settleAll(in <-chan staged, stop func()) (err error) {
	var all []staged
	var size int64
	dirs := map[*dir]bool{}
	flush := func() {
		if err = c.settle(all, err); err != nil {
			stop()
		}
		all, size = all[:0], 0
		clear(dirs)
	}
	for s := range in {
		all = append(all, s)
		size += int64(s.attr.Size)
		dirs[s.dir] = true
		if len(all) >= batchFiles || size >= batchBytes || len(dirs) >= batchDirs || err != nil {
			flush()
		}
	}
	flush()
	return err
}

// settle makes staged files durable and gives them their names. If err is an error already it drops them.
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
	c.res.Bytes += int64(s.attr.Size)
	if c.o.Progress != nil {
		c.o.Progress(int64(c.res.Written), c.res.Bytes)
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

// entry returns what the record says of a file that was written. Its times are kept only if any change from now on, when
// it has its name, leaves other ones.
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
