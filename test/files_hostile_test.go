package test_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/jetstream"
	"headwater/test/natstest"
	"headwater/tree"
)

// hostile is an owner of a bucket who writes whatever can be signed, and a victim who is an owner too.
type hostile struct {
	t      *testing.T
	client *jetstream.Client
	cli    *natstest.CLI
	chain  *buckettest.Chain
	key    bucket.PublicKey // the victim's
	victim headwater
}

func newHostile(t *testing.T, url string) *hostile {
	t.Helper()
	c, err := jetstream.Dial(t.Context(), jetstream.Config{URL: url})
	if err == nil {
		t.Cleanup(func() {
			if err := c.Close(t.Context()); err != nil && t.Context().Err() == nil {
				t.Error(err)
			}
		})
		_, err = c.Ensure(t.Context(), jetstream.EnsureConfig{})
	}
	if err != nil {
		t.Fatal(err)
	}
	x := &hostile{t: t, client: c, cli: natstest.NewCLI(t, url), chain: buckettest.New(t, newIdentity(t))}
	var id string
	x.victim, id = newDesk(t, url)
	if x.key, err = bucket.ParsePublicKey(id); err != nil {
		t.Fatal(err)
	}
	return x
}

// seal encrypts bytes, and puts them as a blob.
func (x *hostile) seal(secret bucket.Secret, plain []byte) bucket.Link {
	x.t.Helper()
	b, err := tree.Seal(secret, plain)
	if err != nil {
		x.t.Fatal(err)
	}
	return x.put("headwater-blobs", bucket.RawLink(b), b)
}

func (x *hostile) put(store string, link bucket.Link, b []byte) bucket.Link {
	x.t.Helper()
	if err := x.client.PutObject(x.t.Context(), store, link.Hash(), int64(len(b)), bytes.NewReader(b)); err != nil {
		x.t.Fatal(err)
	}
	return link
}

// file puts a file; its entry says what is true of it.
func (x *hostile) file(text string, symlink bool) tree.Data {
	x.t.Helper()
	d := tree.Data{Secret: tree.NewSecret()}
	d.Link = x.seal(d.Secret, []byte(text))
	d.Metadata = tree.Attributes{Perm: 0o644, Symlink: symlink, Size: uint64(len(text)), Hash: bucket.Sum([]byte(text))}.Metadata()
	return d
}

type entries = map[string]tree.Entry

func (x *hostile) encode(e entries) []byte {
	x.t.Helper()
	b, err := (&tree.Node{Links: e}).Encode()
	if err != nil {
		x.t.Fatal(err)
	}
	return b
}

func (x *hostile) dir(e entries) tree.Dir {
	x.t.Helper()
	secret := tree.NewSecret()
	return tree.Dir{Link: x.seal(secret, x.encode(e)), Secret: secret}
}

// version makes the next version, whose root node is those bytes, and announces it. It returns the bucket's id.
func (x *hostile) version(root []byte) string {
	x.t.Helper()
	secret := tree.NewSecret()
	var shares []bucket.Share
	for _, k := range []bucket.PublicKey{x.chain.Owner.PublicKey(), x.key} {
		wrapped, err := tree.Wrap(secret, k)
		if err != nil {
			x.t.Fatal(err)
		}
		shares = append(shares, bucket.Share{Identity: k, Role: bucket.Owner, Secret: &wrapped})
	}
	entry := x.seal(secret, root)
	pins := bucket.Pins{entry.Hash()}.Encode()
	v := x.chain.Add(x.t, func(m *bucket.Manifest) {
		m.Shares, m.Entry, m.Pins = shares, entry, x.put("headwater-blobs", bucket.RawLink(pins), pins)
	})
	x.put("headwater-manifests", v.Link, v.Encoded())
	a := bucket.Announcement{Bucket: v.Bucket, Peer: x.chain.Owner.PublicKey(), Link: v.Link}
	if _, err := x.client.Announce(x.t.Context(), a); err != nil {
		x.t.Fatal(err)
	}
	return v.Bucket.String()
}

func TestFilesHostile_TreesAreRefusedAndNothingIsWrittenOutside(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t).URL()
	outside := t.TempDir()
	long := strings.Repeat("n", 300) // stands in for one that no encoder of ours writes
	const tooMany = "more files than there can be, in a few nodes"
	for _, tt := range []struct {
		name string
		says string
		root func(x *hostile) []byte
	}{
		{"a directory named ..", "a name that cannot be a file's", func(x *hostile) []byte {
			return x.encode(entries{"..": x.dir(entries{"evil": x.file("evil", false)})})
		}},
		{"a file named ..", "a name that cannot be a file's", func(x *hostile) []byte {
			return x.encode(entries{"good": x.file("good", false), "..": x.file("evil", false)})
		}},
		{"a name with slashes that goes up", "a name that cannot be a file's", func(x *hostile) []byte {
			return x.encode(entries{"../evil": x.file("evil", false)})
		}},
		{"an absolute name, deep in the tree", "a name that cannot be a file's", func(x *hostile) []byte {
			return x.encode(entries{"a": x.dir(entries{"b": x.dir(entries{filepath.Join(outside, "evil"): x.file("evil", false)})})})
		}},
		{"a name of a drive", "a name that cannot be a file's", func(x *hostile) []byte {
			return x.encode(entries{`C:\evil`: x.file("evil", false)})
		}},
		{"an empty name", "a name that cannot be a file's", func(x *hostile) []byte {
			return x.encode(entries{"": x.dir(entries{"evil": x.file("evil", false)})})
		}},
		{"a name of 300 bytes", "a name that cannot be a file's", func(x *hostile) []byte {
			return x.encode(entries{long: x.file("evil", false)})
		}},
		{"a name of 64 KiB", "the limit is 4096", func(x *hostile) []byte {
			b := x.encode(entries{long: x.file("evil", false)})
			huge := append([]byte{0x7a, 0, 1, 0, 0}, strings.Repeat("n", 64<<10)...)
			return bytes.Replace(b, append([]byte{0x79, 1, 44}, long...), huge, 1)
		}},
		{tooMany, "more than 1000000 files and directories", func(x *hostile) []byte {
			d := x.dir(entries{"file": x.file("small", false)})
			var all entries
			for range 30 {
				all = entries{}
				for i := range 1000 {
					all[fmt.Sprint(i)] = d
				}
				d = x.dir(all)
			}
			return x.encode(all)
		}},
		{"a path that is too deep", "too_large", func(x *hostile) []byte {
			d := x.dir(nil)
			for range tree.MaxDepth {
				d = x.dir(entries{"d": d})
			}
			return x.encode(entries{"d": d})
		}},
		{"a path that is too long", "too_large", func(x *hostile) []byte {
			d := x.dir(nil)
			for range tree.MaxPath/200 + 1 {
				d = x.dir(entries{long[:200]: d})
			}
			return x.encode(entries{"d": d})
		}},
		{"a directory that is its own child by a forged link", "hash_mismatch", func(x *hostile) []byte {
			forged := tree.Dir{Link: bucket.RawLink([]byte("forged")), Secret: tree.NewSecret()}
			node := x.encode(entries{"self": forged})
			sealed, err := tree.Seal(forged.Secret, node)
			if err != nil {
				x.t.Fatal(err)
			}
			putWithCLI(x.t, x.cli, "headwater-blobs", buckettest.Object{Link: forged.Link, Bytes: sealed})
			return node
		}},
		{"no node at all", "malformed", func(*hostile) []byte { return []byte("no node at all") }},
		{"a file of another size than its entry says", "where 5 were promised", func(x *hostile) []byte {
			d := x.file("evil", false)
			d.Metadata = tree.Attributes{Perm: 0o644, Size: 5, Hash: bucket.Sum([]byte("evil"))}.Metadata()
			return x.encode(entries{"good": x.file("good", false), "wrong": d})
		}},
		{"a file of another hash than its entry says", "another hash than promised", func(x *hostile) []byte {
			d := x.file("evil", false)
			d.Metadata = tree.Attributes{Perm: 0o644, Size: 4, Hash: bucket.Sum([]byte("good"))}.Metadata()
			return x.encode(entries{"wrong": d})
		}},
		{"a file of another secret than its entry's", "cannot be decrypted", func(x *hostile) []byte {
			d := x.file("evil", false)
			d.Secret = tree.NewSecret()
			return x.encode(entries{"wrong": d})
		}},
		{"a large file of another secret than its entry's", "cannot be decrypted", func(x *hostile) []byte {
			d := x.file(plainMarker+strings.Repeat("x", tree.SmallFile), false)
			d.Secret = tree.NewSecret()
			return x.encode(entries{"wrong": d})
		}},
		{"a directory of another secret than its entry's", "cannot be decrypted", func(x *hostile) []byte {
			d := x.dir(nil)
			d.Secret = tree.NewSecret()
			return x.encode(entries{"wrong": d})
		}},
		{"permissions of a directory that is outside", "malformed", func(x *hostile) []byte {
			return x.encode(entries{".headwater-dirs": x.file("0777 ../"+filepath.Base(outside)+"\n", false)})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			x := newHostile(t, url)
			id := x.version(tt.root(x))
			around := t.TempDir()
			target := filepath.Join(around, "in", "target")
			o := x.victim.fails(4, "checkout", id, target)
			if !strings.HasPrefix(o.stderr, "headwater: ") || !strings.Contains(o.stderr, tt.says) || len(o.stderr) > 1000 {
				t.Errorf("got %.2000q, want one sentence that says %q", o.stderr, tt.says)
			}
			if tt.name != tooMany { // once is enough of that
				again := x.victim.fails(4, "checkout", id, target, "--json", "--force", "--delete")
				refused := decoded[struct{ Error, Class string }](t, again.stdout+again.stderr)
				if !strings.Contains(refused.Error, tt.says) {
					t.Errorf("got %+v, want the same reason whatever is forced: %q", refused, tt.says)
				}
			}
			for path, said := range snapshot(t, around) {
				name := filepath.Base(path)
				if !strings.HasPrefix(said, "d") && name != "good" || !slices.Contains([]string{"in", "target", "good", "a", "b"}, name) {
					t.Errorf("got %s %s, want nothing but what is sound", path, said)
				}
			}
			if all := snapshot(t, outside); len(all) > 0 {
				t.Errorf("got %v outside, want nothing", all)
			}
		})
	}
}

func TestFilesHostile_LinksLeadNowhereOutside(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	writeTree(t, outside, "passwd", []byte("theirs"), 0o644)
	before := snapshot(t, outside)
	x := newHostile(t, natstest.Start(t).URL())
	for _, outsideLinks := range []bool{false, true} {
		t.Run(fmt.Sprintf("outside links %v", outsideLinks), func(t *testing.T) {
			target := newTarget(t)
			args := func(more ...string) []string {
				if outsideLinks {
					more = append(more, "--outside-links")
				}
				return append([]string{x.chain.ID.String(), target}, more...)
			}
			x.version(x.encode(entries{
				"etc": x.file(outside, true), "sub": x.dir(entries{"up": x.file("../.."+outside, true)}),
				"fine": x.file("etc", true), "file": x.file("text", false),
			}))
			out := x.victim.checksOut(args()...)
			_, err := os.Lstat(filepath.Join(target, "etc"))
			if made := err == nil; made != outsideLinks || len(out.Skipped) != map[bool]int{false: 2, true: 0}[outsideLinks] {
				t.Errorf("got link made %v, skipped %+v; want links that lead outside made only where that was asked for", made, out.Skipped)
			}

			// The link becomes a directory, whose files must not go where the link led.
			x.version(x.encode(entries{
				"etc":  x.dir(entries{"passwd": x.file("evil", false), "new": x.file("evil", false)}),
				"sub":  x.dir(entries{"up": x.dir(entries{"passwd": x.file("evil", false)})}),
				"file": x.dir(entries{"passwd": x.file("evil", false)}),
			}))
			x.victim.checksOut(args()...)
			for _, name := range []string{"etc", "sub/up", "file"} {
				if info, err := os.Lstat(filepath.Join(target, name)); err != nil || !info.IsDir() {
					t.Errorf("got %v (%v) at %s, want the directory", info, err, name)
				}
			}
			// And somebody's own link in the place of a directory is not followed, whatever is forced.
			if err := os.RemoveAll(filepath.Join(target, "etc")); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(outside, filepath.Join(target, "etc")); err != nil {
				t.Fatal(err)
			}
			x.victim.failsSaying(1, "etc", append([]string{"checkout"}, args()...)...)
			x.victim.checksOut(args("--force", "--delete")...)
			if info, err := os.Lstat(filepath.Join(target, "etc")); err != nil || !info.IsDir() {
				t.Errorf("got %v (%v), want the directory in the link's place", info, err)
			}
			if after := snapshot(t, outside); len(after) != len(before) || after["passwd"] != before["passwd"] {
				t.Errorf("got %v outside, want %v", after, before)
			}
		})
	}
}

func TestFilesHostile_WrongBytesOfALargeFileAreNeverWrittenInClear(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t).URL()
	owner, _ := newDesk(t, url)
	h := owner
	src, target := t.TempDir(), newTarget(t)
	writeTree(t, src, "large", markedBytes(newRand(31), tree.SmallFile+2<<20), 0o644)
	h.run("create", "films")
	h.run("commit", "films", src)
	link, err := bucket.ParseLink(blobLinks(t, h, "films")["large"])
	if err != nil {
		t.Fatal(err)
	}
	cli := natstest.NewCLI(t, url)
	file := filepath.Join(t.TempDir(), "blob")
	h.run("get", link.String(), "-o", file)
	right, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	cli.Run("object", "add", "good", "--replicas=1")
	h.run("put", "--store", "good", file)
	flipped := slices.Clone(right)
	flipped[len(flipped)-20] ^= 1
	for name, wrong := range map[string][]byte{
		"a bit that differs near the end": flipped, "too short": right[:len(right)-1], "too long": append(slices.Clone(right), 0),
		"a small one": right[:100],
	} {
		putWithCLI(t, cli, "headwater-blobs", buckettest.Object{Link: link, Bytes: wrong})
		other, id := newDesk(t, url) // who does not hold it
		owner.run("share", "films", id)
		h = other
		h.failsSaying(4, link.Hash().String(), "checkout", "films", target)
		for path, said := range snapshot(t, target) {
			t.Errorf("%s: got %s %s, want nothing written", name, path, said)
		}
		if o := h.fails(4, "cat", "films", "large"); o.stdout != "" {
			t.Errorf("%s: got %d bytes from cat, want none", name, len(o.stdout))
		}
		// Wrong bytes in one store condemn nothing that another one has.
		second := newTarget(t)
		h.run("checkout", "films", second, "--blob-store", "headwater-blobs,good")
		checkSame(t, second, src)
	}
	// The store is mended, and all is as it was.
	putWithCLI(t, cli, "headwater-blobs", buckettest.Object{Link: link, Bytes: right})
	h.checksOut("films", target)
	checkSame(t, target, src)
}
