package tree

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"headwater/blobstore"
	"headwater/bucket"
)

// Find returns the entry of one path, and reads no more than the directories on the way to it. The empty path is the root.
// entry links to the root node, which secret opens. A path that is not there, or leads through a file, is
// [fs.ErrNotExist], wrapped with the path; a path that cannot stand in any tree is an error of [CheckPath]; other errors
// are those of [ReadNode].
func Find(ctx context.Context, r blobstore.Reader, entry bucket.Link, secret bucket.Secret, path string) (Entry, error) {
	var at Entry = Dir{entry, secret}
	if path == "" {
		return at, nil
	}
	if err := CheckPath(path); err != nil {
		return nil, fmt.Errorf("find: %w", err)
	}
	if path == dirsFile {
		return nil, fmt.Errorf("find %q: %w", path, fs.ErrNotExist)
	}
	for name := range strings.SplitSeq(path, "/") {
		dir, ok := at.(Dir)
		if !ok {
			return nil, fmt.Errorf("find %.200q: %w: a file where %.80q would be in a directory", path, fs.ErrNotExist, name)
		}
		n, err := ReadNode(ctx, r, dir.Link, dir.Secret)
		if err != nil {
			return nil, fmt.Errorf("find %.200q: %w", path, err)
		}
		if at, ok = n.Links[name]; !ok {
			return nil, fmt.Errorf("find %.200q: %w: no %.80q in its directory", path, fs.ErrNotExist, name)
		}
	}
	return at, nil
}

// ReadNode reads one directory. Names in it are as they were found: see [CheckName]. Errors are those of the reader
// ([blobstore.ErrNotFound], [blobstore.ErrCorrupt]), [ErrUnreadable] if secret does not open the blob, and a
// [*bucket.Refusal] of [DecodeNode].
func ReadNode(ctx context.Context, r blobstore.Reader, link bucket.Link, secret bucket.Secret) (*Node, error) {
	return readNode(ctx, r, Dir{link, secret}, nil)
}

// readNode is ReadNode that asks admit, which may be nil, before it takes memory for a blob of that size.
func readNode(ctx context.Context, r blobstore.Reader, d Dir, admit func(size int64) error) (*Node, error) {
	plain, err := readSealed(ctx, r, d, MaxNodeSize, admit)
	if err != nil {
		return nil, err
	}
	n, err := DecodeNode(plain)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", d.Link.Hash(), err)
	}
	return n, nil
}

// readSealed reads the blob of an entry, of at most limit plain bytes, and opens it.
func readSealed(ctx context.Context, r blobstore.Reader, e Entry, limit int64, admit func(int64) error) ([]byte, error) {
	link, secret := e.Blob()
	h := link.Hash()
	blob, err := r.Get(ctx, h)
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	if blob.Size() > limit+Overhead {
		return nil, refuse(bucket.TooLarge, "blob %s of %d bytes; the limit is %d", h, blob.Size(), limit+Overhead)
	}
	if admit != nil {
		if err := admit(blob.Size()); err != nil {
			return nil, fmt.Errorf("read blob %s: %w", h, err)
		}
	}
	sealed := make([]byte, blob.Size())
	if _, err := io.ReadFull(blob, sealed); err != nil {
		return nil, fmt.Errorf("read blob %s: %w", h, err)
	}
	plain, err := Open(secret, sealed)
	if err != nil {
		return nil, fmt.Errorf("blob %s: %w", h, err)
	}
	return plain, nil
}
