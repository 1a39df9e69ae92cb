package worktree

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"headwater/bucket"
	"headwater/tree"

	"github.com/fxamacker/cbor/v2"
)

// A record's file: one line that says what it is and of which version, the BLAKE3 hash of the rest, and the rest, in CBOR.
const (
	recordMagic = "headwater worktree 1\n"
	// maxRecordSize is the most bytes of a record, above what the largest tree needs.
	maxRecordSize = 2 * tree.MaxTreeSize
)

type recordBody struct {
	_       struct{} `cbor:",toarray"`
	Of      string   // the directory
	Bucket  bucket.ID
	Version []byte // empty for none
	Height  uint64
	Files   []recordFile
	Dirs    []recordDir
	Pending []recordFile
}

type recordFile struct {
	_       struct{} `cbor:",toarray"`
	Path    string
	Perm    uint16
	Symlink bool
	Size    uint64
	Hash    bucket.Hash
	Link    []byte // of an entry without attributes, with its secret; else empty
	Secret  []byte

	Modified, Changed int64
	Inode             uint64
}

type recordDir struct {
	_    struct{} `cbor:",toarray"`
	Path string
	Perm uint16
}

func toFile(path string, e Entry) recordFile {
	f := recordFile{
		Path: path, Perm: uint16(e.Attributes.Perm), Symlink: e.Attributes.Symlink, Size: e.Attributes.Size, Hash: e.Attributes.Hash,
		Modified: e.stamp.Modified, Changed: e.stamp.Changed, Inode: e.stamp.Inode,
	}
	if !e.Data.Link.IsZero() {
		f.Link, f.Secret = e.Data.Link[:], e.Data.Secret[:]
	}
	return f
}

func (f *recordFile) entry() (Entry, error) {
	e := Entry{
		Attributes: tree.Attributes{Perm: fs.FileMode(f.Perm), Symlink: f.Symlink, Size: f.Size, Hash: f.Hash},
		stamp:      stamp{f.Modified, f.Changed, f.Inode},
	}
	if f.Perm > 0o777 {
		return e, fmt.Errorf("permissions %o", f.Perm)
	}
	if len(f.Link) == 0 && len(f.Secret) == 0 {
		return e, nil
	}
	if len(f.Link) != len(e.Data.Link) || len(f.Secret) != len(e.Data.Secret) {
		return e, errors.New("a link or secret of another length")
	}
	e.Data = tree.Data{Link: bucket.Link(f.Link), Secret: bucket.Secret(f.Secret)}
	return e, nil
}

// encode returns the file of a record. It is sorted, so that equal records are equal files.
func (r *Record) encode(of string) ([]byte, error) {
	body := recordBody{Of: of, Bucket: r.Bucket, Height: r.Height}
	if !r.Version.IsZero() {
		body.Version = r.Version[:]
	}
	for _, path := range slices.Sorted(maps.Keys(r.Files)) {
		body.Files = append(body.Files, toFile(path, r.Files[path]))
	}
	for _, path := range slices.Sorted(maps.Keys(r.Dirs)) {
		body.Dirs = append(body.Dirs, recordDir{Path: path, Perm: uint16(r.Dirs[path].Perm())})
	}
	for _, path := range slices.Sorted(maps.Keys(r.Pending)) {
		body.Pending = append(body.Pending, toFile(path, Entry{Attributes: r.Pending[path]}))
	}
	b, err := cbor.Marshal(body)
	if err != nil {
		return nil, err
	}
	if len(b) > maxRecordSize-len(recordMagic)-len(bucket.Hash{}) {
		return nil, fmt.Errorf("%d bytes; the limit is %d", len(b), maxRecordSize)
	}
	h := bucket.Sum(b)
	return slices.Concat([]byte(recordMagic), h[:], b), nil
}

// decodeRecord reads what encode wrote, and which directory it is of.
func decodeRecord(b []byte) (r *Record, of string, err error) {
	b, ok := bytes.CutPrefix(b, []byte(recordMagic))
	if !ok || len(b) < len(bucket.Hash{}) {
		return nil, "", errors.New("no record, or one of a newer Headwater")
	}
	sum, b := bucket.Hash(b[:len(bucket.Hash{})]), b[len(bucket.Hash{}):]
	if bucket.Sum(b) != sum {
		return nil, "", errors.New("it is damaged")
	}
	mode, err := cbor.DecOptions{MaxArrayElements: 2*tree.MaxFiles + 16, MaxNestedLevels: 4, IndefLength: cbor.IndefLengthForbidden}.DecMode()
	if err != nil {
		return nil, "", err
	}
	var body recordBody
	if err := mode.Unmarshal(b, &body); err != nil {
		return nil, "", err
	}
	r, err = body.record()
	return r, body.Of, err
}

func (b *recordBody) record() (*Record, error) {
	r := &Record{
		Origin: Origin{Bucket: b.Bucket, Height: b.Height},
		Files:  make(map[string]Entry, len(b.Files)),
		Dirs:   make(map[string]fs.FileMode, len(b.Dirs)),
	}
	switch len(b.Version) {
	case 0:
	case len(r.Version):
		r.Version = bucket.Link(b.Version)
	default:
		return nil, errors.New("a link of another length")
	}
	for i := range b.Files {
		f := &b.Files[i]
		e, err := f.entry()
		if err = errors.Join(err, tree.CheckPath(f.Path)); err != nil {
			return nil, fmt.Errorf("file %.200q: %w", f.Path, err)
		}
		r.Files[f.Path] = e
	}
	for i := range b.Pending {
		f := &b.Pending[i]
		e, err := f.entry()
		if err = errors.Join(err, tree.CheckPath(f.Path)); err != nil {
			return nil, fmt.Errorf("file %.200q: %w", f.Path, err)
		}
		if r.Pending == nil {
			r.Pending = make(map[string]tree.Attributes, len(b.Pending))
		}
		r.Pending[f.Path] = e.Attributes
	}
	for _, d := range b.Dirs {
		if err := tree.CheckPath(d.Path); err != nil || d.Perm > 0o777 {
			return nil, fmt.Errorf("directory %.200q: permissions %o: %w", d.Path, d.Perm, err)
		}
		r.Dirs[d.Path] = fs.FileMode(d.Perm)
	}
	return r, nil
}
