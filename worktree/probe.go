package worktree

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"headwater/tree"
)

func randomDigits() string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// temporary returns a temporary name that nobody else has.
func (c *checkout) temporary() string {
	return fmt.Sprintf("%s%s%08x", temporaryPrefix, c.run, c.temps.Add(1))
}

// probe reports whether the file system takes two spellings of a name for the same. If nothing can be written in the
// directory it returns false, and nothing will be written.
func (c *checkout) probe() (bool, error) {
	name := c.temporary()
	f, err := c.top.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrPermission) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	_, err = c.top.root.Lstat(strings.ToUpper(name))
	folds := err == nil
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return folds, errors.Join(err, f.Close(), c.top.root.Remove(name))
}

// learn fetches a file whose size and hash the listing does not say, to be able to tell whether it is there already.
func (c *checkout) learn(ctx context.Context, j *job) error {
	size, hash, err := tree.Verify(ctx, c.r, j.data)
	if err != nil {
		return fmt.Errorf("fetch %.200q: %w", j.path, err)
	}
	j.attr.Size, j.attr.Hash, j.known = uint64(size), hash, true
	return nil
}
