package tree

import (
	"io/fs"

	"headwater/bucket"
)

// Attributes are what Headwater keeps about a file besides its bytes. They are in the metadata of its entry, encrypted
// with it. They are claims of the owner who wrote them: a fetch compares size and hash with the bytes that come.
type Attributes struct {
	Perm    fs.FileMode // permission bits, at most 0o777
	Symlink bool        // the bytes are the target of a symbolic link
	Size    uint64      // bytes of the plain file
	Hash    bucket.Hash // BLAKE3 of the plain file
}

// The keys of attributes. There may be other keys beside them.
const (
	keyMode   = "mode" // Unix mode: permission bits, and modeSymlink
	keySize   = "size"
	keyBlake3 = "blake3"

	modeType    = 0o170000
	modeSymlink = 0o120000
)

// Metadata returns the attributes as the metadata of a [Data].
func (a Attributes) Metadata() []byte {
	mode := uint64(a.Perm.Perm())
	if a.Symlink {
		mode |= modeSymlink
	}
	b := appendHead(nil, majorMap, 3)
	b = appendHead(appendText(b, keyMode), majorUint, mode)
	b = appendHead(appendText(b, keySize), majorUint, a.Size)
	b = appendHead(appendText(b, keyBlake3), majorBytes, uint64(len(a.Hash)))
	return append(b, a.Hash[:]...)
}

// Attributes returns what the metadata says of the file. ok is false, and the attributes zero, if it does not say all of
// it, or says a size that no file can have, as for files that were not written by Headwater. A mode that is neither a
// symbolic link's nor a plain file's counts as a plain file's, and only its permission bits are kept.
func (d Data) Attributes() (a Attributes, ok bool) {
	if d.Metadata == nil {
		return Attributes{}, false
	}
	r := &reader{b: d.Metadata}
	major, n := r.head()
	var mode, size, hash bool
	for ; major == majorMap && n > 0 && r.err == nil; n-- {
		switch r.text(MaxMetadataSize, "a key of metadata") {
		case keyMode:
			m := r.want(majorUint, "a mode")
			a.Perm, a.Symlink, mode = fs.FileMode(m&0o777), m&modeType == modeSymlink, true
		case keySize:
			a.Size, size = r.want(majorUint, "a size"), true
		case keyBlake3:
			a.Hash, hash = r.hash(), true
		default:
			r.item(maxDepth)
		}
	}
	if r.end() != nil || !mode || !size || !hash || a.Size > MaxPlainSize {
		return Attributes{}, false
	}
	return a, true
}

func (r *reader) hash() (h bucket.Hash) {
	if n := r.want(majorBytes, "a hash"); n != uint64(len(h)) {
		r.refuse(bucket.Malformed, "a hash of %d bytes", n)
	}
	copy(h[:], r.take(uint64(len(h))))
	return h
}

// String shows the mode as ls does: -rw-r--r--, or lrwxrwxrwx for a symbolic link.
func (a Attributes) String() string {
	mode := a.Perm.Perm().String()
	if a.Symlink {
		return "l" + mode[1:]
	}
	return mode
}
