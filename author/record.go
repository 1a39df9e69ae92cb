package author

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"headwater/bucket"
)

// recordVersion is the form of the files of [State]. A reader refuses all others.
const recordVersion = 1

const (
	// maxRecordSize is the most octets of a file: a manifest in base64, and the tips.
	maxRecordSize = 4 << 20
	// maxTips is the most tips that a record keeps. Beyond it, what is forgotten first costs the least to find again.
	maxTips = 1024
)

// record is what was verified of one bucket.
type record struct {
	genesis bucket.Link
	head    *bucket.Version
	tips    map[bucket.Link]tip
}

// tip is a head that was announced, or a fork, and what became of it.
type tip struct {
	Height uint64  `json:"height"`
	Kind   tipKind `json:"kind"`
	// Base is the ancestor that a fork has in common with the head.
	Base bucket.Link `json:"base,omitzero"`
	// Class and Reason say why a head was refused; an empty class stands for a diverged one.
	Class  bucket.Class `json:"class,omitempty"`
	Reason string       `json:"reason,omitempty"`
}

type tipKind string

// The kinds of tips, those to be kept longest first.
const (
	tipFork    tipKind = "fork"    // verified, and neither an ancestor of the head nor merged
	tipMerged  tipKind = "merged"  // a version holds it as merged
	tipBehind  tipKind = "behind"  // an ancestor of another tip or of the head
	tipRefused tipKind = "refused" // it can never become right
)

// rank orders kinds by how long they are kept.
func (k tipKind) rank() int {
	return slices.Index([]tipKind{tipFork, tipMerged, tipBehind, tipRefused}, k)
}

// err is why a refused tip is ignored.
func (t tip) err(link bucket.Link) error {
	if t.Class == "" {
		return fmt.Errorf("%w: %s", ErrDiverged, t.Reason)
	}
	return &bucket.Refusal{Class: t.Class, Link: link, Reason: t.Reason}
}

// tipLinks lists the tips of the given kinds.
func (r *record) tipLinks(kinds ...tipKind) (links []bucket.Link) {
	for l, t := range r.tips {
		if slices.Contains(kinds, t.Kind) {
			links = append(links, l)
		}
	}
	return links
}

// recordFile is a record as it stands in its file.
type recordFile struct {
	Version  int                 `json:"v"`
	Bucket   bucket.ID           `json:"bucket_id"`
	Genesis  bucket.Link         `json:"genesis"`
	Head     bucket.Head         `json:"head"`
	Manifest []byte              `json:"manifest"` // of the head
	Tips     map[bucket.Link]tip `json:"tips,omitempty"`
}

// encode returns the content of the record's file.
func (r *record) encode() ([]byte, error) {
	r.prune()
	return json.MarshalIndent(recordFile{
		recordVersion, r.head.Bucket, r.genesis, r.head.Head(), r.head.Encoded(), r.tips,
	}, "", "\t")
}

// prune keeps the number of tips within its limit.
func (r *record) prune() {
	if len(r.tips) <= maxTips {
		return
	}
	links := make([]bucket.Link, 0, len(r.tips))
	for l := range r.tips {
		links = append(links, l)
	}
	slices.SortFunc(links, func(a, b bucket.Link) int {
		x, y := r.tips[a], r.tips[b]
		return cmp.Or(cmp.Compare(x.Kind.rank(), y.Kind.rank()), cmp.Compare(y.Height, x.Height), a.Compare(b))
	})
	for _, l := range links[maxTips:] {
		delete(r.tips, l)
	}
}

// readRecord reads the file of a bucket. It trusts the file as far as nobody but its owner can write it, but not that it is
// whole.
func readRecord(f io.Reader, id bucket.ID) (*record, error) {
	b, err := io.ReadAll(io.LimitReader(f, maxRecordSize+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxRecordSize {
		return nil, fmt.Errorf("more than %d octets", maxRecordSize)
	}
	var version struct {
		V int `json:"v"`
	}
	if err := json.Unmarshal(b, &version); err != nil {
		return nil, err
	}
	if version.V != recordVersion {
		return nil, fmt.Errorf("its form is version %d, and this program reads version %d", version.V, recordVersion)
	}
	var file recordFile
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		return nil, err
	}
	return file.record(id)
}

// record checks what the file says, as far as it can be checked.
func (f *recordFile) record(id bucket.ID) (*record, error) {
	head, err := bucket.Open(f.Head.Link, f.Manifest)
	if err != nil {
		return nil, err
	}
	switch {
	case f.Bucket != id || head.Bucket != id:
		return nil, errors.New("it belongs to another bucket")
	case head.Head() != f.Head || (head.Height == 0) != (head.Link == f.Genesis):
		return nil, errors.New("genesis, head and manifest do not belong together")
	case f.Genesis.Codec() != bucket.CodecDagCBOR:
		return nil, errors.New("the genesis is no manifest")
	case len(f.Tips) > maxTips:
		return nil, fmt.Errorf("%d tips", len(f.Tips))
	}
	for l, t := range f.Tips {
		if l.Codec() != bucket.CodecDagCBOR || t.Kind.rank() < 0 || (t.Kind == tipFork && t.Base.IsZero()) {
			return nil, fmt.Errorf("tip %s is none", l)
		}
	}
	if f.Tips == nil {
		f.Tips = map[bucket.Link]tip{}
	}
	return &record{f.Genesis, head, f.Tips}, nil
}

// equal says whether two records say the same.
func (r *record) equal(o *record) bool {
	return r.genesis == o.genesis && r.head.Link == o.head.Link && maps.Equal(r.tips, o.tips)
}
