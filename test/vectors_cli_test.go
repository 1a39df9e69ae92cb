package test_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/test/natstest"
)

// vectors is the directory of the bytes that jax-buckets encoded.
var vectors = filepath.Join("..", "bucket", "testdata")

// vectorIdentities are the identities whose seeds the vectors tell.
func vectorIdentities(tb testing.TB) map[bucket.PublicKey]bucket.Identity {
	tb.Helper()
	found := map[bucket.PublicKey]bucket.Identity{}
	for _, name := range []string{"chains.json", "manifests.json"} {
		var all []struct {
			Seeds []struct {
				Seed buckettest.HexBytes `json:"seed_hex"`
			}
		}
		b, err := os.ReadFile(filepath.Join(vectors, name))
		if err == nil {
			err = json.Unmarshal(b, &all)
		}
		if err != nil {
			tb.Fatalf("%s: %v", name, err)
		}
		for _, v := range all {
			for _, s := range v.Seeds {
				id, err := bucket.NewIdentity(s.Seed)
				if err != nil {
					tb.Fatalf("%s: %v", name, err)
				}
				found[id.PublicKey()] = id
			}
		}
	}
	return found
}

// forEachReceiver runs f for the vectors of a file, together for each peer that is to judge them: with that peer running on
// a server of its own, all their objects put, and nothing announced.
func forEachReceiver(t *testing.T, file string, f func(*testing.T, *cliPeer, *natstest.CLI, []buckettest.VectorChain)) {
	t.Helper()
	identities := vectorIdentities(t)
	byReceiver := map[bucket.PublicKey][]buckettest.VectorChain{}
	for _, c := range buckettest.ReadChains(t, filepath.Join(vectors, file)) {
		byReceiver[c.Receiver] = append(byReceiver[c.Receiver], c)
	}
	for receiver, chains := range byReceiver {
		t.Run(receiver.String()[:8], func(t *testing.T) {
			t.Parallel()
			id, ok := identities[receiver]
			if !ok {
				t.Fatalf("the vectors do not tell the seed of %s", receiver)
			}
			p := startOwnPeer(t, importedDir(t, id))
			cli := natstest.NewCLI(t, p.url)
			var objects []buckettest.Object
			for _, c := range chains {
				objects = append(objects, c.Objects...)
			}
			putWithCLI(t, cli, "headwater-manifests", objects...)
			f(t, p, cli, chains)
		})
	}
}

// opened are the versions of a chain that is sound.
func opened(tb testing.TB, objects []buckettest.Object) []*bucket.Version {
	tb.Helper()
	versions := make([]*bucket.Version, len(objects))
	for i, o := range objects {
		v, err := bucket.Open(o.Link, o.Bytes)
		if err != nil {
			tb.Fatal(err)
		}
		versions[i] = v
	}
	return versions
}

// announcer is a peer that does not run, in whose name a test announces.
func announcer(tb testing.TB, n byte) bucket.PublicKey {
	tb.Helper()
	return buckettest.Identity(tb, n).PublicKey()
}

func TestPrefix_EveryChainOfTheOriginal(t *testing.T) {
	t.Parallel()
	forEachReceiver(t, "chains.json", func(t *testing.T, p *cliPeer, cli *natstest.CLI, chains []buckettest.VectorChain) {
		for _, c := range chains {
			announceWithCLI(t, cli, c.Bucket, announcer(t, 1), c.Head.Link)
		}
		await(t, "the announced heads", func() (bool, any) {
			status := p.status()
			return !slices.ContainsFunc(chains, func(c buckettest.VectorChain) bool { return status[c.Bucket.String()].Known == nil }), status
		}, p)
		status := p.status()
		for _, c := range chains {
			versions := opened(t, c.Objects)
			want := bucketJSON{
				BucketID: c.Bucket.String(), Name: versions[len(versions)-1].Name,
				Known: &headJSON{c.Head.Link.String(), c.Head.Height},
				// The vectors hold no pins, so no version can be complete.
				State: "fetching",
			}
			got := status[c.Bucket.String()]
			got.LastError = ""
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: status (-want +got):\n%s", c.Name, diff)
			}
			checkLog(t, p.versions(c.Bucket), versions...)
			for _, v := range versions {
				checkInspection(t, decoded[inspectJSON](t, p.run("inspect", v.Link.String(), "--json")), v)
			}
		}
		if got := p.letters("--kind", "heads"); len(got) > 0 {
			t.Errorf("got dead letters %+v, want none", got)
		}
	})
}

// checkInspection compares what inspect says of a version with what it is.
func checkInspection(tb testing.TB, got inspectJSON, v *bucket.Version) {
	tb.Helper()
	want := inspectJSON{
		Link: v.Link.String(), Hash: v.Link.Hash().String(), BucketID: v.Bucket.String(), Name: v.Name, Height: v.Height,
		Previous: textOf(v.Previous, v.Previous.IsZero()), Entry: v.Entry.String(), Pins: v.Pins.String(),
		Author: textOf(v.Author, v.Author == nil), Signed: true, SignatureValid: true, Published: v.Published(),
	}
	for _, s := range v.Shares {
		want.Shares = append(want.Shares, shareJSON{s.Identity.String(), s.Role.String()})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		tb.Errorf("inspection (-want +got):\n%s", diff)
	}
}

// notShared is the class of a chain that is sound, and not for the receiver: no reason to set anything aside.
const notShared = "receiver_not_in_shares"

func TestOnlyWhoMay_EveryAttackIsSetAside(t *testing.T) {
	t.Parallel()
	forEachReceiver(t, "attacks.json", func(t *testing.T, p *cliPeer, cli *natstest.CLI, chains []buckettest.VectorChain) {
		for _, c := range chains {
			announceWithCLI(t, cli, c.Bucket, announcer(t, 1), lastLink(c))
		}
		awaitAttacks(t, p, chains)
		letters := lettersByBucket(p.letters())
		status := p.status()
		for _, c := range chains {
			id := c.Bucket.String()
			p.fails(3, "log", id, "--json")
			s := status[id]
			if s.Known != nil || s.Complete != nil {
				t.Errorf("%s: got status %+v, want no version known", c.Name, s)
			}
			if slices.Contains(c.Classes, notShared) {
				if s.State != "not_shared" || s.Dead != 0 || len(letters[id]) > 0 {
					t.Errorf("%s: got status %+v and letters %+v, want not_shared and none", c.Name, s, letters[id])
				}
				continue
			}
			if s.Dead != 1 || !slices.ContainsFunc(c.Classes, func(class string) bool { return strings.Contains(s.LastError, class) }) {
				t.Errorf("%s: got status %+v, want one dead letter, and an error of class %s", c.Name, s, c.Classes)
			}
			checkLetter(t, p, c, letters[id])
		}
	})
}

func lastLink(c buckettest.VectorChain) bucket.Link { return c.Objects[len(c.Objects)-1].Link }

func lettersByBucket(letters []letterJSON) map[string][]letterJSON {
	by := map[string][]letterJSON{}
	for _, l := range letters {
		by[l.BucketID] = append(by[l.BucketID], l)
	}
	return by
}

// awaitAttacks returns when each chain has come to a dead letter, or to the state of one that is not for the receiver.
func awaitAttacks(t *testing.T, p *cliPeer, chains []buckettest.VectorChain) {
	t.Helper()
	await(t, "the attacks to be judged", func() (bool, any) {
		letters, status := lettersByBucket(p.letters()), p.status()
		var missing []string
		for _, c := range chains {
			id := c.Bucket.String()
			judged := len(letters[id]) > 0
			if slices.Contains(c.Classes, notShared) {
				judged = status[id].State == "not_shared"
			}
			if !judged {
				missing = append(missing, c.Name)
			}
		}
		return len(missing) == 0, missing
	}, p)
}

// checkLetter compares the one dead letter of an attack with what was announced.
func checkLetter(t *testing.T, p *cliPeer, c buckettest.VectorChain, letters []letterJSON) {
	t.Helper()
	if len(letters) != 1 {
		t.Errorf("%s: got letters %+v, want one", c.Name, letters)
		return
	}
	l := letters[0]
	if !slices.Contains(c.Classes, l.Class) || l.Subject != headSubject(c.Bucket, announcer(t, 1)) || l.Kind != "heads" ||
		l.Reason == "" || l.Deliveries != 1 || l.At.IsZero() {
		t.Errorf("%s: got letter %+v, want a first delivery of class %s", c.Name, l, c.Classes)
	}
	n := strconv.FormatUint(l.Sequence, 10)
	if got, want := p.run("dead", "show", n, "--raw"), plainAnnouncement(lastLink(c)); got != want {
		t.Errorf("%s: got body %q of the letter, want %q", c.Name, got, want)
	}
	if diff := cmp.Diff(l, decoded[letterJSON](t, p.run("dead", "show", n, "--json"))); diff != "" {
		t.Errorf("%s: show differs from ls (-ls +show):\n%s", c.Name, diff)
	}
}

func TestPoisonDoesNotBlock_GoodHeadBehindEveryAttack(t *testing.T) {
	t.Parallel()
	forEachReceiver(t, "attacks.json", func(t *testing.T, p *cliPeer, cli *natstest.CLI, chains []buckettest.VectorChain) {
		// The empty list of pins, which the chains made here need.
		putWithCLI(t, cli, "headwater-blobs", buckettest.Object{Link: bucket.RawLink(nil)})
		good := map[string][]*bucket.Version{}
		for _, c := range chains {
			good[c.Name] = soundPrefix(c)
			if len(good[c.Name]) == 0 {
				made := buckettest.New(t, buckettest.Identity(t, 9), p.publicKey())
				made.ID = c.Bucket
				good[c.Name] = made.Grow(t, 3).Versions
				putWithCLI(t, cli, "headwater-manifests", objectsOf(made.Versions...)...)
			}
		}
		for _, c := range chains {
			announceWithCLI(t, cli, c.Bucket, announcer(t, 1), lastLink(c))
			head := good[c.Name][len(good[c.Name])-1]
			announceWithCLI(t, cli, c.Bucket, announcer(t, 2), head.Link)
		}
		check := func(what string) {
			await(t, "the good heads, "+what, func() (bool, any) {
				status := p.status()
				var missing []string
				for _, c := range chains {
					head := good[c.Name][len(good[c.Name])-1]
					if k := status[c.Bucket.String()].Known; k == nil || *k != (headJSON{head.Link.String(), head.Height}) {
						missing = append(missing, c.Name)
					}
				}
				return len(missing) == 0, missing
			}, p)
			for _, c := range chains {
				checkLog(t, p.versions(c.Bucket), good[c.Name]...)
			}
		}
		check("right behind the bad ones")

		// Now that good versions are known, the bad ones still change nothing.
		before := lettersByBucket(p.letters("--kind", "heads"))
		for _, c := range chains {
			announceWithCLI(t, cli, c.Bucket, announcer(t, 3), lastLink(c))
		}
		await(t, "the attacks to be judged again", func() (bool, any) {
			after, status := lettersByBucket(p.letters("--kind", "heads")), p.status()
			var missing []string
			for _, c := range chains {
				id := c.Bucket.String()
				if len(after[id]) <= len(before[id]) && status[id].State != "diverged" {
					missing = append(missing, c.Name)
				}
			}
			return len(missing) == 0, missing
		}, p)
		check("with the bad ones announced again")
	})
}

// soundPrefix is the longest part of an attack, from its genesis, that breaks no rule and is for the receiver.
func soundPrefix(c buckettest.VectorChain) (sound []*bucket.Version) {
	var prev *bucket.Version
	var prefix []*bucket.Version
	for _, o := range c.Objects {
		v, err := bucket.Open(o.Link, o.Bytes)
		if err != nil || (bucket.Rules{}).Succeed(c.Bucket, prev, v) != nil {
			break
		}
		prefix, prev = append(prefix, v), v
		if _, ok := v.Share(c.Receiver); ok {
			sound = prefix
		}
	}
	return sound
}

func TestPoisonDoesNotBlock_LettersAreReplayedAndDropped(t *testing.T) {
	t.Parallel()
	p := startOwnPeer(t, filepath.Join(t.TempDir(), "peer"))
	cli := natstest.NewCLI(t, p.url)
	chain := buckettest.New(t, buckettest.Identity(t, 1), p.publicKey()).Grow(t, 2)
	putWithCLI(t, cli, "headwater-manifests", objectsOf(chain.Versions...)...)
	subject := headSubject(chain.ID, announcer(t, 2))
	const body = "no announcement, and no CBOR either \xff\x00"
	cli.RunInput([]byte(body), "pub", subject, "--force-stdin", "--header", "Mine: kept")
	first := awaitLetter(t, p, 0)
	if first.Class != "malformed" || first.Subject != subject {
		t.Errorf("got letter %+v, want one of class malformed about %s", first, subject)
	}

	n := strconv.FormatUint(first.Sequence, 10)
	if got := p.run("dead", "show", n, "--raw"); got != body {
		t.Errorf("got %q, want the bytes that were published, %q", got, body)
	}
	p.run("dead", "replay", n)
	second := awaitLetter(t, p, first.Sequence)
	p.fails(3, "dead", "show", n)
	p.fails(3, "dead", "replay", n)
	p.fails(3, "dead", "drop", n)
	n = strconv.FormatUint(second.Sequence, 10)
	if got := p.run("dead", "show", n, "--raw"); got != body {
		t.Errorf("got %q after a replay, want the bytes that were published, %q", got, body)
	}
	shown := decoded[struct{ Headers map[string][]string }](t, p.run("dead", "show", n, "--json"))
	if got := shown.Headers["Mine"]; !slices.Equal(got, []string{"kept"}) {
		t.Errorf("got headers %v after a replay, want those that were published", shown.Headers)
	}
	p.run("dead", "drop", n)
	p.fails(3, "dead", "show", n)
	if got := p.letters(); len(got) > 0 {
		t.Errorf("got letters %+v, want none after the last was dropped", got)
	}

	// A letter never replaces what its announcer said later, unless told to.
	cli.Run("pub", subject, `{"link":"bad"}`)
	third := awaitLetter(t, p, second.Sequence)
	announceWithCLI(t, cli, chain.ID, announcer(t, 2), chain.Head().Link)
	await(t, "the good head", func() (bool, any) { s := p.status()[chain.ID.String()]; return s.Known != nil, s }, p)
	n = strconv.FormatUint(third.Sequence, 10)
	p.fails(1, "dead", "replay", n)
	p.run("dead", "replay", n, "--force")
	awaitLetter(t, p, third.Sequence)
	for _, args := range [][]string{{"show"}, {"show", "x"}, {"drop", "-1"}, {"replay", "1.5"}, {"ls", "1"}, {"ls", "--kind", "x"}} {
		p.fails(2, append([]string{"dead"}, args...)...)
	}
}

// awaitLetter returns the one dead letter, once it is one that came in after another.
func awaitLetter(t *testing.T, p *cliPeer, behind uint64) (l letterJSON) {
	t.Helper()
	await(t, "a dead letter", func() (bool, any) {
		all := p.letters()
		if len(all) == 1 && all[0].Sequence > behind {
			l = all[0]
		}
		return l.Sequence > 0, all
	}, p)
	return l
}
