package tree

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"headwater/bucket"
)

// Limits on nodes. What is beyond them is neither written nor read.
const (
	// MaxNodeSize is the most bytes of an encoded node: 32 MiB.
	MaxNodeSize = 32 << 20
	// MaxEntries is the most entries of one node: 262,144, at 128 bytes each, which is about what an entry takes.
	MaxEntries = MaxNodeSize / 128
	// MaxNameSize is the most bytes of a name. It is more than a file can have, since the original puts no limit on
	// names.
	MaxNameSize = 4096
	// MaxMimeSize is the most bytes of a media type.
	MaxMimeSize = 1024
	// MaxMetadataSize is the most bytes of one entry's encoded metadata.
	MaxMetadataSize = 64 << 10
)

// Node is a directory. The zero Node is an empty one. Names are any text: see [CheckName] before they become files.
type Node struct {
	Links map[string]Entry
}

// Entry is what a name in a directory stands for: a [Data] or a [Dir], and nothing else.
type Entry interface {
	// Blob returns the link to the encrypted blob, and the secret that opens it.
	Blob() (bucket.Link, bucket.Secret)

	check() error
	append(b []byte) []byte
}

var (
	_ Entry = Data{}
	_ Entry = Dir{}
)

// Data is the entry of a file.
type Data struct {
	Link   bucket.Link // to a raw blob, as all that is encrypted
	Secret bucket.Secret

	// Mime is the media type, such as text/plain; nil for none. Its form is not checked, but the original refuses a
	// whole node over one that is no media type.
	Mime *string

	// Metadata is one map in canonical DAG-CBOR, kept as it is; nil for none, which is all that the original writes.
	Metadata []byte
}

// Dir is the entry of a directory; its blob holds a [Node].
type Dir struct {
	Link   bucket.Link // to a raw blob, as all that is encrypted
	Secret bucket.Secret
}

// Blob returns the link to the encrypted file, and the secret that opens it.
func (d Data) Blob() (bucket.Link, bucket.Secret) { return d.Link, d.Secret }

// Blob returns the link to the encrypted node, and the secret that opens it.
func (d Dir) Blob() (bucket.Link, bucket.Secret) { return d.Link, d.Secret }

const (
	kindData = "Data"
	kindDir  = "Dir"

	// minEntrySize is that of a directory with no name and a secret of small bytes.
	minEntrySize = 1 + 1 + 1 + len(kindDir) + 1 + linkSize + minSecretSize
)

// Encode returns the canonical encoding. The error wraps a [*bucket.Refusal]: of class too_large if a limit is
// passed, of class wrong_codec for a link that is not to a raw blob, of class malformed for a name or media type that
// is not UTF-8, and of class malformed or non_canonical for metadata that is not a canonical map. [DecodeNode] would
// refuse all of these too.
func (n *Node) Encode() ([]byte, error) {
	if len(n.Links) > MaxEntries {
		err := refuse(bucket.TooLarge, "%d entries; the limit is %d", len(n.Links), MaxEntries)
		return nil, fmt.Errorf("encode node: %w", err)
	}
	b := appendHead(nil, majorMap, 1)
	b = appendText(b, "links")
	b = appendHead(b, majorMap, uint64(len(n.Links)))
	for _, name := range slices.SortedFunc(maps.Keys(n.Links), compareKeys) {
		e := n.Links[name]
		if err := checkEntry(name, e); err != nil {
			return nil, fmt.Errorf("encode node: entry %.80q: %w", name, err)
		}
		b = e.append(appendText(b, name))
	}
	if len(b) > MaxNodeSize {
		err := refuse(bucket.TooLarge, "%d bytes; the limit is %d", len(b), MaxNodeSize)
		return nil, fmt.Errorf("encode node: %w", err)
	}
	return b, nil
}

// compareKeys is the order of a map's keys in DAG-CBOR: shorter ones first.
func compareKeys(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

func checkEntry(name string, e Entry) error {
	if e == nil {
		return refuse(bucket.Malformed, "no entry")
	}
	if err := checkText("a name", name, MaxNameSize); err != nil {
		return err
	}
	return e.check()
}

func checkText(what, s string, limit int) error {
	if len(s) > limit {
		return refuse(bucket.TooLarge, "%s of %d bytes; the limit is %d", what, len(s), limit)
	}
	if !utf8.ValidString(s) {
		return refuse(bucket.Malformed, "%s that is not UTF-8", what)
	}
	return nil
}

func (d Dir) check() error { return checkLink(d.Link) }

func (d Data) check() error {
	if err := checkLink(d.Link); err != nil {
		return err
	}
	if d.Mime != nil {
		if err := checkText("a media type", *d.Mime, MaxMimeSize); err != nil {
			return err
		}
	}
	if d.Metadata == nil {
		return nil
	}
	r := &reader{b: d.Metadata}
	r.metadata()
	return r.end()
}

func (d Dir) append(b []byte) []byte {
	b = appendText(appendHead(b, majorMap, 1), kindDir)
	b = appendHead(b, majorArray, 2)
	return appendInts(appendLink(b, d.Link), d.Secret[:])
}

func (d Data) append(b []byte) []byte {
	b = appendText(appendHead(b, majorMap, 1), kindData)
	b = appendHead(b, majorArray, 3)
	b = appendInts(appendLink(b, d.Link), d.Secret[:])
	b = appendText(appendHead(b, majorMap, 2), "mime")
	if d.Mime != nil {
		b = appendText(b, *d.Mime)
	} else {
		b = append(b, simpleNull)
	}
	b = appendText(b, "metadata")
	if d.Metadata != nil {
		return append(b, d.Metadata...)
	}
	return append(b, simpleNull)
}

// DecodeNode reads the one canonical encoding of a node: what it returns encodes to b again, byte for byte. Anything
// else is a [*bucket.Refusal] of class malformed, non_canonical, wrong_codec or too_large.
func DecodeNode(b []byte) (*Node, error) {
	if len(b) > MaxNodeSize {
		return nil, refuse(bucket.TooLarge, "a node of %d bytes; the limit is %d", len(b), MaxNodeSize)
	}
	r := &reader{b: b}
	r.exactly(majorMap, 1, "a node")
	r.field("links")
	count := r.count(MaxEntries, minEntrySize, "a map of entries")
	n := &Node{Links: make(map[string]Entry, count)}
	last := ""
	for i := 0; i < count && r.err == nil; i++ {
		name := r.text(MaxNameSize, "a name")
		if i > 0 && compareKeys(last, name) >= 0 {
			r.refuse(bucket.NonCanonical, "entries that are not in order, or of one name")
		}
		n.Links[name], last = r.entry(), name
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	return n, nil
}

func (r *reader) entry() Entry {
	r.exactly(majorMap, 1, "an entry")
	switch kind := r.text(MaxNameSize, "the kind of an entry"); kind {
	case kindData:
		r.exactly(majorArray, 3, "a file")
		return r.data()
	case kindDir:
		r.exactly(majorArray, 2, "a directory")
		return Dir{r.link(), r.ints("a secret")}
	default:
		r.refuse(bucket.Malformed, "an entry that is neither Data nor Dir")
		return nil
	}
}

func (r *reader) data() Data {
	d := Data{Link: r.link(), Secret: r.ints("a secret")}
	r.exactly(majorMap, 2, "what is known of a file")
	r.field("mime")
	if !r.null() {
		d.Mime = new(r.text(MaxMimeSize, "a media type"))
	}
	r.field("metadata")
	if !r.null() {
		d.Metadata = r.metadata()
	}
	return d
}
