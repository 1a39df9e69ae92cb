package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"headwater/bucket"
	"headwater/peer/local"
	"headwater/tree"
	"headwater/worktree"
)

// Session works on a peer's directory, whoever holds it: it makes versions, reads them, and says how things stand. The user's
// files are read and written by the process that has the session. Get one from [Use], or of a [Peer] that this process holds.
// Safe for concurrent use.
type Session struct {
	holder local.Holder
	id     bucket.Identity
	dir    string // absolute
	rules  bucket.Rules
	log    *slog.Logger

	records worktree.Records // of directories: what they had in common with their buckets
	intents worktree.Records // what a commit under way is about to make of them

	close func(context.Context) error
}

func newSession(h local.Holder, id bucket.Identity, cfg Config, close func(context.Context) error) *Session {
	return &Session{
		holder: h, id: id, dir: cfg.Dir, rules: cfg.rules(), log: cfg.Logger,
		records: worktree.OpenRecords(cfg.Dir), intents: worktree.OpenRecords(filepath.Join(cfg.Dir, "commits")), close: close,
	}
}

// ID returns the peer's id.
func (s *Session) ID() bucket.PublicKey { return s.id.PublicKey() }

// Close ends the session, and gives the directory free if this session holds it.
func (s *Session) Close(ctx context.Context) error { return s.close(ctx) }

// Find returns the bucket that a person means: by its id, the beginning of its id, or its name. [ErrNoBucket]; [ErrUsage] if
// several buckets are meant.
func (s *Session) Find(ctx context.Context, name string) (bucket.ID, error) {
	if id, err := bucket.ParseID(name); err == nil {
		return id, nil
	}
	if name == "" {
		return bucket.ID{}, fmt.Errorf("%w: a bucket's name is empty; give its id, the beginning of it, or its name", ErrUsage)
	}
	found, err := s.holder.Find(ctx, name)
	if err != nil {
		return bucket.ID{}, err
	}
	return one(name, found)
}

// one returns the only bucket that was found.
func one(name string, found []bucket.ID) (bucket.ID, error) {
	switch len(found) {
	case 0:
		return bucket.ID{}, fmt.Errorf("bucket %q: %w: neither held here nor announced; 'headwater status' lists what is known", name, ErrNoBucket)
	case 1:
		return found[0], nil
	}
	return bucket.ID{}, fmt.Errorf("%w: %q names %d buckets, such as %s and %s; give the id", ErrUsage, name, len(found), found[0], found[1])
}

// view is how a bucket stands, opened.
type view struct {
	head     *bucket.Version
	tips     []tip
	unshared *bucket.Version // a newer version that has no share for us; nil for none
	ignored  []local.Ignored
}

// tip is a branch that did not become the head, and was not merged.
type tip struct {
	*bucket.Version
	base bucket.Head // newest version that the head has all of
}

// look returns how a bucket stands. bus: after a look at what is announced, if a broker answers.
func (s *Session) look(ctx context.Context, id bucket.ID, bus bool) (*view, error) {
	answer, err := s.holder.Look(ctx, id, bus)
	if err != nil {
		return nil, err
	}
	v := &view{ignored: answer.Ignored}
	open := func(manifest []byte) (version *bucket.Version) {
		if err == nil {
			version, err = bucket.Open(bucket.ManifestLink(manifest), manifest)
		}
		return version
	}
	v.head = open(answer.Head)
	if len(answer.Unshared) > 0 {
		v.unshared = open(answer.Unshared)
	}
	for _, t := range answer.Tips {
		v.tips = append(v.tips, tip{open(t.Manifest), t.Base})
	}
	if err != nil {
		return nil, fmt.Errorf("versions of bucket %s: %w", id, err)
	}
	return v, nil
}

// version returns one version that is in the log, or in the object stores.
func (s *Session) version(ctx context.Context, link bucket.Link) (*bucket.Version, error) {
	b, err := s.holder.Manifest(ctx, link)
	if err != nil {
		return nil, err
	}
	return bucket.Open(link, b)
}

// at resolves which version is meant: by height, below the head; by link; or, if at is empty, the newest that can be read.
func (s *Session) at(ctx context.Context, v *view, at string) (*bucket.Version, error) {
	if at == "" && v.unshared != nil {
		if _, err := unlock(s.id, v.unshared); err != nil {
			return nil, err
		}
		return v.unshared, nil
	}
	q := local.AncestorQuery{Bucket: v.head.Bucket, Of: v.head.Head()}
	if link, err := bucket.ParseLink(at); err == nil {
		q.Of, q.Link = bucket.Head{}, link // branches that did not become the head can be read too
	} else if at != "" {
		var height uint64
		if _, err := fmt.Sscanf(at+"\n", "%d\n", &height); err != nil {
			return nil, fmt.Errorf("%w: %q is neither a height nor a link of a version", ErrUsage, at)
		}
		q.Height = &height
	} else if _, err := unlock(s.id, v.head); !errors.Is(err, ErrNotPublished) {
		return v.head, err
	} else {
		q.Published = true
	}
	head, err := s.holder.Ancestor(ctx, q)
	if q.Published && errors.Is(err, ErrNoVersion) {
		_, err = unlock(s.id, v.head) // says what to do
	}
	if err != nil {
		return nil, err
	}
	return s.version(ctx, head.Link)
}

// inChain reports whether a version is in the chain of another one.
func (s *Session) inChain(ctx context.Context, of *bucket.Version, link bucket.Link) (bool, error) {
	_, err := s.holder.Ancestor(ctx, local.AncestorQuery{Bucket: of.Bucket, Of: of.Head(), Link: link})
	if errors.Is(err, ErrNoVersion) {
		return false, nil
	}
	return err == nil, err
}

// unlock returns the secret of a version, which opens its root node: out of our share if we are an owner, else the one that is
// published with it. [ErrNotShared], [ErrNotPublished]; [tree.ErrUnreadable] if our key does not open our share.
func unlock(id bucket.Identity, v *bucket.Version) (bucket.Secret, error) {
	share, shared := v.Share(id.PublicKey())
	var unreadable error
	if shared && share.Role == bucket.Owner {
		unreadable = tree.ErrUnreadable // an owner's share that holds no secret
		if share.Secret != nil {
			secret, err := tree.Unwrap(*share.Secret, id)
			if err == nil {
				return secret, nil
			}
			unreadable = err
		}
	}
	switch {
	case v.Published():
		return *v.Public, nil
	case unreadable != nil:
		return bucket.Secret{}, fmt.Errorf("open version %s of bucket %s: our share of it: %w", v.Link, v.Bucket, unreadable)
	case !shared:
		return bucket.Secret{}, notShared(v, id.PublicKey())
	}
	return bucket.Secret{}, fmt.Errorf("open version %s of bucket %s: %w: we are a mirror, which reads what is published only; "+
		"an owner can publish a version, or make us an owner", v.Link, v.Bucket, ErrNotPublished)
}

// loadTree reads the tree of a version that can be read.
func (s *Session) loadTree(ctx context.Context, v *bucket.Version) (*tree.Listing, error) {
	secret, err := unlock(s.id, v)
	if err != nil {
		return nil, err
	}
	l, err := tree.Load(ctx, s.holder, v.Entry, secret)
	return l, s.lacking(ctx, v, err)
}

// lacking returns the error of reading a version; if that needed the broker and could not reach it, the error says what to do.
func (s *Session) lacking(ctx context.Context, v *bucket.Version, err error) error {
	if !errors.Is(err, ErrOffline) {
		return err
	}
	what := "try again when the broker answers"
	if view, err := s.holder.Look(ctx, v.Bucket, false); err == nil && !view.Complete.IsZero() && view.Complete.Link != v.Link {
		what += fmt.Sprintf("; until then the newest version that can be read is %d, with --at %s", view.Complete.Height, view.Complete.Link)
	}
	return fmt.Errorf("version %d (%s) of bucket %s is not all held here: %w; %s", v.Height, v.Link, v.Bucket, err, what)
}

// Fork is a branch that did not become the head, and was not merged.
type Fork struct {
	Link     bucket.Link      `json:"link"`
	Height   uint64           `json:"height"`
	Author   bucket.PublicKey `json:"author"` // of the tip; zero if it is unsigned
	Ancestor bucket.Head      `json:"ancestor"`
}

func (v *view) forks() (forks []Fork) {
	for _, t := range v.tips {
		forks = append(forks, Fork{t.Link, t.Height, authorOf(t.Version), t.base})
	}
	return forks
}

func authorOf(v *bucket.Version) bucket.PublicKey {
	if v.Author == nil {
		return bucket.PublicKey{}
	}
	return *v.Author
}

// Head returns the newest version of a bucket that is known here. [ErrNoBucket].
func (s *Session) Head(ctx context.Context, id bucket.ID) (bucket.Head, error) {
	v, err := s.look(ctx, id, false)
	if err != nil {
		return bucket.Head{}, err
	}
	return v.head.Head(), nil
}

// exclude is what no tree of files must ever hold: the peer's own directory, with its key.
func (s *Session) exclude() []string { return []string{s.dir} }
