package worktree

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"headwater/bucket"
	"headwater/tree"

	"github.com/zeebo/blake3"
)

// File is a regular file or a symbolic link on disk.
type File struct {
	Attributes tree.Attributes
	ModTime    time.Time
	// Source opens the file again, and fails with [ErrChanged] if it is no longer the one that was scanned.
	Source tree.Source

	kind    fs.FileMode // type bits
	size    int64       // as the file system says, which for links is its own affair
	stamp   stamp
	settled bool // the stamp can be trusted later
	links   uint64
}

const (
	// maxTries is how often a file that changes meanwhile is read.
	maxTries = 3
	// maxTarget is the most bytes of a symbolic link's target.
	maxTarget = 4095
	// readSize is how much of a file is in memory at a time.
	readSize = 256 << 10
	// linkPerm is the permissions of every symbolic link: systems differ, and none looks at them.
	linkPerm fs.FileMode = 0o777
	// defaultPerm is the permissions of a file of which none are known.
	defaultPerm fs.FileMode = 0o644
)

// reader reads files, one after the other.
type reader struct {
	buf  []byte
	hash *blake3.Hasher
	read int // files whose bytes were read
}

// file looks at a file of d, and reads it unless known has the same stamp, or need says that its bytes do not matter: then its hash
// stays zero. An error that is fs.ErrNotExist says that it is gone.
func (r *reader) file(d *dir, name string, known *Entry, need func(size int64) bool) (f File, err error) {
	for range maxTries {
		info, err := d.root.Lstat(name)
		if err != nil {
			return File{}, err
		}
		switch kind := info.Mode().Type(); kind {
		case 0:
			f, err = r.regular(d, name, info, known, need)
		case fs.ModeSymlink:
			f, err = r.link(d, name, info)
		default:
			err = fmt.Errorf("%w: no longer a file", ErrChanged)
		}
		if !errors.Is(err, ErrChanged) {
			return f, err
		}
	}
	return File{}, fmt.Errorf("%w, %d times over", ErrChanged, maxTries)
}

func fileOf(info fs.FileInfo) File {
	return File{
		Attributes: tree.Attributes{Perm: info.Mode().Perm(), Size: uint64(info.Size())},
		ModTime:    info.ModTime(),
		kind:       info.Mode().Type(),
		size:       info.Size(),
		stamp:      stampOf(info),
		links:      linksOf(info),
	}
}

func (r *reader) regular(d *dir, name string, info fs.FileInfo, known *Entry, need func(size int64) bool) (File, error) {
	f := fileOf(info)
	if !hasPerms {
		f.Attributes.Perm = guessPerm(f.Attributes.Perm, known)
	}
	if known != nil && !known.Attributes.Symlink && known.stamp != (stamp{}) && known.stamp == f.stamp &&
		known.Attributes.Size == f.Attributes.Size {
		f.Attributes.Hash, f.settled = known.Attributes.Hash, true
		return f, nil
	}
	if need != nil && !need(f.size) {
		return f, nil
	}
	began := time.Now()
	h, err := r.sum(d, name, &f)
	if err != nil {
		return File{}, err
	}
	f.Attributes.Hash, f.settled = h, f.stamp.settled(began)
	r.read++
	return f, nil
}

// guessPerm makes up permissions if there is only a flag for read-only: those known already, if they agree.
func guessPerm(perm fs.FileMode, known *Entry) fs.FileMode {
	if known != nil && known.Attributes.Perm&0o200 == perm&0o200 {
		return known.Attributes.Perm
	}
	if perm&0o200 == 0 {
		return 0o444
	}
	return defaultPerm
}

// sum hashes the bytes of a file, which must stay f from the first to the last of them.
func (r *reader) sum(d *dir, name string, f *File) (h bucket.Hash, err error) {
	file, err := d.root.OpenFile(name, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return h, err
	}
	defer file.Close()
	if err := sameFile(file, f); err != nil {
		return h, err
	}
	if r.buf == nil {
		r.buf = make([]byte, readSize)
	}
	if f.size <= int64(len(r.buf)) {
		h, err = r.sumSmall(file, int(f.size))
	} else {
		h, err = r.sumLarge(file, f.size)
	}
	if err != nil {
		return h, err
	}
	return h, sameFile(file, f)
}

// sameFile returns ErrChanged if an open file is not the one that was looked at.
func sameFile(file *os.File, f *File) error {
	info, err := file.Stat()
	if err == nil && !f.is(info) {
		err = ErrChanged
	}
	return err
}

func (r *reader) sumSmall(file io.Reader, size int) (h bucket.Hash, err error) {
	b := r.buf[:size]
	if _, err := io.ReadFull(file, b); err != nil {
		return h, short(err)
	}
	return bucket.Sum(b), nil
}

func (r *reader) sumLarge(file io.Reader, size int64) (h bucket.Hash, err error) {
	if r.hash == nil {
		r.hash = blake3.New()
	}
	r.hash.Reset()
	n, err := io.CopyBuffer(struct{ io.Writer }{r.hash}, struct{ io.Reader }{io.LimitReader(file, size)}, r.buf)
	if err == nil && n < size {
		err = ErrChanged
	}
	if err != nil {
		return h, err
	}
	r.hash.Sum(h[:0])
	return h, nil
}

// short turns the error of a file that ends too soon into ErrChanged.
func short(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrChanged
	}
	return err
}

func (r *reader) link(d *dir, name string, info fs.FileInfo) (File, error) {
	target, err := d.root.Readlink(name)
	if err != nil {
		return File{}, err
	}
	f := fileOf(info)
	b := []byte(filepath.ToSlash(target))
	f.Attributes = tree.Attributes{Perm: linkPerm, Symlink: true, Size: uint64(len(b)), Hash: bucket.Sum(b)}
	f.Source = tree.Source{Size: int64(len(b)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(b)), nil
	}}
	return f, nil
}

// open opens a scanned file again.
func (f *File) open(top *os.Root, path string) (io.ReadCloser, error) {
	file, err := top.OpenFile(filepath.FromSlash(path), os.O_RDONLY|openFlags, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("file %.200q: %w: it is gone", path, ErrChanged)
	}
	if err != nil {
		return nil, err
	}
	if err := sameFile(file, f); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("file %.200q: %w", path, err)
	}
	return file, nil
}

// The temporary names of checkouts.
const (
	temporaryPrefix = ".headwater-tmp-"
	temporaryDigits = 24
)

func isTemporary(name string) bool {
	digits, ok := strings.CutPrefix(name, temporaryPrefix)
	return ok && len(digits) == temporaryDigits && strings.Trim(digits, "0123456789abcdef") == ""
}
