package localtest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/consumer"
	"headwater/peer/local"
)

// Memory is a holder in memory. It knows no forks. The zero Memory is that of a peer without an id.
type Memory struct {
	blobstore.Memory
	PeerID  bucket.PublicKey
	Offline bool // what needs a broker is local.ErrOffline

	mu       sync.Mutex
	chains   map[bucket.ID][]kept
	watchers map[chan []byte]bool
}

// kept is a version, and whether its pins were held.
type kept struct {
	*bucket.Version
	complete bool
	added    time.Time
}

var _ local.Holder = (*Memory)(nil)

// Put implements [local.Content].
func (m *Memory) Put(ctx context.Context, h bucket.Hash, size int64, r io.Reader) error {
	n, err := m.Memory.Put(ctx, h, r)
	if err == nil && n != size {
		err = fmt.Errorf("put blob %s: %w: %d bytes, not %d", h, blobstore.ErrMismatch, n, size)
	}
	return err
}

// Manifest implements [local.Content].
func (m *Memory) Manifest(ctx context.Context, link bucket.Link) ([]byte, error) {
	return blobstore.ReadAll(ctx, &m.Memory, link.Hash(), bucket.MaxManifestSize)
}

// chain returns the versions of a bucket, oldest first.
func (m *Memory) chain(id bucket.ID) ([]kept, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.chains[id]) == 0 {
		return nil, fmt.Errorf("bucket %s: %w", id, local.ErrNoBucket)
	}
	return m.chains[id], nil
}

// Find implements [local.History].
func (m *Memory) Find(_ context.Context, name string) (ids []bucket.ID, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, chain := range m.chains {
		if strings.HasPrefix(id.String(), name) || chain[len(chain)-1].Name == name {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Look implements [local.History].
func (m *Memory) Look(_ context.Context, id bucket.ID, bus bool) (v local.View, err error) {
	chain, err := m.chain(id)
	if err != nil {
		return v, err
	}
	if bus && m.Offline {
		v.Offline = "there is none"
	}
	v.Head = chain[len(chain)-1].Encoded()
	for _, k := range chain {
		if k.complete {
			v.Complete = k.Head()
		}
	}
	return v, nil
}

// Ancestor implements [local.History].
func (m *Memory) Ancestor(_ context.Context, q local.AncestorQuery) (bucket.Head, error) {
	chain, err := m.chain(q.Bucket)
	if err != nil {
		return bucket.Head{}, err
	}
	if !q.Of.IsZero() {
		chain = chain[:min(q.Of.Height+1, uint64(len(chain)))]
	}
	for _, k := range slices.Backward(chain) {
		if q.Height != nil && k.Height == *q.Height || k.Link == q.Link || q.Published && k.Published() {
			return k.Head(), nil
		}
	}
	return bucket.Head{}, fmt.Errorf("bucket %s: %w", q.Bucket, local.ErrNoVersion)
}

// Carried implements [local.History].
func (m *Memory) Carried(_ context.Context, id bucket.ID, _ []bucket.Link) (bucket.Pins, error) {
	_, err := m.chain(id)
	return nil, err
}

// Log implements [local.History].
func (m *Memory) Log(_ context.Context, id bucket.ID, before bucket.Head, limit int) (p local.LogPage, err error) {
	chain, err := m.chain(id)
	if err != nil {
		return p, err
	}
	p.Head = chain[len(chain)-1].Head()
	for _, k := range slices.Backward(chain) {
		if !before.IsZero() && k.Height >= before.Height {
			continue
		}
		if len(p.Versions) == cmp.Or(limit, local.PageSize) {
			p.More = true
			break
		}
		e := local.LogEntry{
			BucketID: id, Link: k.Link, Height: k.Height, Author: k.Author, Published: k.Published(), Head: k.Head() == p.Head,
			Complete: k.complete, Name: k.Name, Added: k.added,
		}
		if !k.Previous.IsZero() {
			e.Previous = &k.Previous
		}
		p.Versions = append(p.Versions, e)
	}
	return p, nil
}

// Keep implements [local.Maker].
func (m *Memory) Keep(ctx context.Context, manifest []byte) error {
	v, err := bucket.Open(bucket.ManifestLink(manifest), manifest)
	if err != nil {
		return err
	}
	list, err := blobstore.ReadAll(ctx, &m.Memory, v.Pins.Hash(), bucket.MaxPinsSize)
	if err != nil {
		return err
	}
	pins, err := bucket.ParsePins(list)
	complete := true
	for _, h := range pins {
		has, _ := m.Has(ctx, h)
		complete = complete && has
	}
	if err == nil {
		err = m.add(v, complete)
	}
	if err == nil {
		_, err = m.Memory.Put(ctx, v.Link.Hash(), bytes.NewReader(manifest))
	}
	return err
}

// add verifies a version and appends it.
func (m *Memory) add(v *bucket.Version, complete bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	chain := m.chains[v.Bucket]
	var previous *bucket.Version
	if len(chain) > 0 {
		previous = chain[len(chain)-1].Version
		if previous.Link != v.Previous {
			return fmt.Errorf("version %d of bucket %s: %w", v.Height, v.Bucket, local.ErrStale)
		}
	}
	if err := (bucket.Rules{}).Succeed(v.Bucket, previous, v); err != nil {
		return err
	}
	if m.chains == nil {
		m.chains = map[bucket.ID][]kept{}
	}
	m.chains[v.Bucket] = append(chain, kept{v, complete, time.Now()})
	return nil
}

// Await implements [local.Maker].
func (m *Memory) Await(_ context.Context, id bucket.ID, _ bucket.Link, report func(local.UploadProgress)) error {
	if m.Offline {
		return fmt.Errorf("bucket %s: %w", id, local.ErrOffline)
	}
	if report != nil {
		for done := range 3 {
			report(local.UploadProgress{Objects: 2, Done: done, Bytes: int64(done) << 10})
		}
	}
	return nil
}

// Announce implements [local.Maker].
func (m *Memory) Announce(ctx context.Context, id bucket.ID, link bucket.Link) (duplicate bool, err error) {
	chain, err := m.chain(id)
	if err != nil {
		return false, err
	}
	if !link.IsZero() && !slices.ContainsFunc(chain, func(k kept) bool { return k.Link == link }) {
		return false, fmt.Errorf("bucket %s: %w", id, local.ErrNoVersion)
	}
	return false, m.Await(ctx, id, link, nil)
}

// Status implements [local.Teller].
func (m *Memory) Status(_ context.Context, id, after bucket.ID, limit int) (local.Status, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := local.Status{PeerID: m.PeerID}
	for b, chain := range m.chains {
		if id.IsZero() && b.String() > after.String() || b == id {
			s.Buckets = append(s.Buckets, consumer.Status{BucketID: b, Known: new(chain[len(chain)-1].Head())})
		}
	}
	slices.SortFunc(s.Buckets, func(a, b consumer.Status) int { return strings.Compare(a.BucketID.String(), b.BucketID.String()) })
	if limit = cmp.Or(limit, local.PageSize); len(s.Buckets) > limit {
		s.Buckets, s.More = s.Buckets[:limit], true
	}
	return s, nil
}

// Emit tells those who watch of an event.
func (m *Memory) Emit(event any) error {
	b, err := json.Marshal(event)
	m.mu.Lock()
	defer m.mu.Unlock()
	for w := range m.watchers {
		select {
		case w <- b:
		default:
			err = errors.Join(err, errors.New("a reader is too slow"))
		}
	}
	return err
}

// Watch implements [local.Teller].
func (m *Memory) Watch(ctx context.Context, started func(), handle func(event []byte)) error {
	events := make(chan []byte, 100)
	m.mu.Lock()
	if m.watchers == nil {
		m.watchers = map[chan []byte]bool{}
	}
	m.watchers[events] = true
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.watchers, events)
		m.mu.Unlock()
	}()
	if started != nil {
		started()
	}
	for {
		select {
		case e := <-events:
			handle(e)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
