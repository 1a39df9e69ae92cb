package tree_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/tree"

	"github.com/google/go-cmp/cmp"
)

// holdVector puts the encrypted blob of a vector as it is.
func (s *shelf) holdVector(t testing.TB, v valueVector) bucket.Link {
	t.Helper()
	link := bucket.RawLink(v.ExpectedHex)
	if err := s.Put(t.Context(), link.Hash(), int64(len(v.ExpectedHex)), bytes.NewReader(v.ExpectedHex)); err != nil {
		t.Fatal(err)
	}
	return link
}

// TestNodeOfVectorsIsRead: the node that jax-buckets encrypted is read, and gone through, like one of ours.
func TestNodeOfVectorsIsRead(t *testing.T) {
	var s shelf
	v := vector(t, "encrypted_node")
	link, secret := s.holdVector(t, v), bucket.Secret(input[hexBytes](t, v, "secret_hex"))
	if link != v.ExpectedText {
		t.Fatalf("got link %s, want %s", link, v.ExpectedText)
	}
	n, err := tree.ReadNode(t.Context(), &s, link, secret)
	if err != nil {
		t.Fatal(err)
	}
	entries := input[[]entryJSON](t, vector(t, "node"), "links")
	want := map[string]tree.Entry{}
	for _, e := range entries {
		want[e.Name] = e.entry(t)
	}
	if diff := cmp.Diff(want, n.Links); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, e := range want {
		got, err := tree.Find(t.Context(), &s, link, secret, name)
		if tree.CheckName(name) != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("find %q: got %v, %v, want that no path leads to a name with a slash", name, got, err)
			}
		} else if err != nil || !cmp.Equal(got, e) {
			t.Errorf("find %q: got %v, %v, want %v", name, got, err, e)
		}
	}
	if l, err := s.load(t, tree.Dir{Link: link, Secret: secret}); l != nil || !errors.Is(err, tree.ErrName) {
		t.Errorf("load: got %v, %v, want it refused for a name with a slash", l, err)
	}
}

type chainVector struct {
	Name  string
	Seeds []struct {
		Name string
		Seed hexBytes `json:"seed_hex"`
	}
	Manifests []struct {
		Link bucket.Link
		CBOR hexBytes `json:"cbor_hex"`
	}
}

func readChains(t testing.TB) (all []chainVector) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "bucket", "testdata", "chains.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatalf("chains.json: %v", err)
	}
	return all
}

// TestTreesUnderSecretsOfVectors: the secret that each owner takes out of each version of the vectors' chains opens a tree
// of the vectors' files, down to their plain bytes.
func TestTreesUnderSecretsOfVectors(t *testing.T) {
	var s shelf
	texts := map[string]hexBytes{}
	node := map[string]tree.Entry{}
	for i := range 4 {
		v := vector(t, fmt.Sprintf("encrypted_blob_%d", i))
		name := fmt.Sprintf("text %d", i)
		node[name] = tree.Data{Link: s.holdVector(t, v), Secret: bucket.Secret(input[hexBytes](t, v, "secret_hex"))}
		texts["deep/er/"+name] = input[hexBytes](t, v, "plain_hex")
	}
	above := s.node(t, map[string]tree.Entry{"er": s.node(t, node)})
	opened := 0
	for _, chain := range readChains(t) {
		for _, m := range chain.Manifests {
			v, err := bucket.Open(m.Link, m.CBOR)
			if err != nil {
				t.Fatalf("%s: %v", chain.Name, err)
			}
			for _, seed := range chain.Seeds {
				id := identity(t, seed.Seed)
				share, ok := v.Share(id.PublicKey())
				if !ok || share.Role != bucket.Owner {
					continue
				}
				secret, err := tree.Unwrap(*share.Secret, id)
				if err != nil {
					t.Errorf("%s, height %d: share of %s: %v", chain.Name, v.Height, seed.Name, err)
					continue
				}
				if v.Public != nil && *v.Public != secret {
					t.Errorf("%s, height %d: the share of %s holds another secret than the one published", chain.Name, v.Height, seed.Name)
				}
				root := tree.Dir{Link: s.plain(t, secret, encoded(t, map[string]tree.Entry{"deep": above})), Secret: secret}
				checkTexts(t, &s, root, texts)
				opened++
			}
		}
	}
	if opened == 0 {
		t.Error("chains.json has no version with an owner's share")
	}
}

// checkTexts demands that the tree holds those files and no others, whichever way they are looked for.
func checkTexts(t testing.TB, s *shelf, root tree.Dir, want map[string]hexBytes) {
	t.Helper()
	l, err := s.load(t, root)
	if err != nil || len(l.Files) != len(want) {
		t.Fatalf("load: got %v, %v, want %d files", l, err, len(want))
	}
	for path, text := range want {
		e, err := tree.Find(t.Context(), s, root.Link, root.Secret, path)
		if err != nil || !cmp.Equal(e, tree.Entry(l.Files[path])) {
			t.Errorf("find %s: got %v, %v, want what is loaded", path, e, err)
		}
		d := l.Files[path]
		blob, err := blobstore.ReadAll(t.Context(), s, d.Link.Hash(), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if plain, err := tree.Open(d.Secret, blob); err != nil || !bytes.Equal(plain, text) {
			t.Errorf("open %s: got %x, %v, want %x", path, plain, err, []byte(text))
		}
	}
}
