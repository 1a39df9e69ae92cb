package logtest

import (
	"slices"
	"strings"
	"sync"
	"time"

	"headwater/bucket"
	"headwater/logstore"
)

func (s *suite) appendKeeps() {
	genesis := successor(id(1), nil, "genesis")
	genesis.Published, genesis.Author = true, bucket.PublicKey{}
	second := successor(id(1), &genesis, "second")
	second.Complete = true // is not for Append to say
	began := time.Now().Truncate(time.Millisecond)
	s.add([]logstore.Entry{genesis, second}, nil, false)
	second.Complete = false
	for _, want := range []logstore.Entry{genesis, second} {
		got, err := s.Entry(s.Context(), id(1), want.Head())
		s.ok(err)
		s.same("entry", got, want)
		if got.Added.Before(began) || got.Added.After(time.Now()) || got.Added.Nanosecond()%1e6 != 0 {
			s.Errorf("got added %v, want the time of the append in milliseconds", got.Added)
		}
	}
	heads, err := s.Heads(s.Context(), id(1), 1)
	s.ok(err)
	s.same("heads of height 1", heads, []bucket.Link{second.Link})
	s.same("bucket", s.bucket(id(1)), logstore.Bucket{
		ID: id(1), Name: second.Name, Known: second.Head(), Published: genesis.Head(), Versions: 2,
	})
	added, err := s.Append(s.Context(), nil, nil, false)
	s.ok(err)
	s.same("added by nothing", added, []logstore.Entry(nil))
}

func (s *suite) appendRefuses() {
	c := chain(id(1), nil, 8, "a")
	s.add(c[:3], nil, false)
	other := chain(id(2), nil, 2, "b")
	change := func(e logstore.Entry, f func(*logstore.Entry)) []logstore.Entry { f(&e); return []logstore.Entry{e} }
	for name, stretch := range map[string][]logstore.Entry{
		"predecessor missing":     c[4:6],
		"hole in the stretch":     {c[3], c[5]},
		"stretch in wrong order":  {c[4], c[3]},
		"height too large":        change(c[3], func(e *logstore.Entry) { e.Height++ }),
		"height too small":        change(c[3], func(e *logstore.Entry) { e.Height-- }),
		"height wraps":            change(c[3], func(e *logstore.Entry) { e.Height = 0 }),
		"genesis with previous":   change(c[0], func(e *logstore.Entry) { e.Link[5]++; e.Previous = c[2].Link }),
		"no genesis, no previous": change(c[3], func(e *logstore.Entry) { e.Previous = bucket.Link{} }),
		"no link":                 change(c[3], func(e *logstore.Entry) { e.Link = bucket.Link{} }),
		"no bucket":               change(c[0], func(e *logstore.Entry) { e.Bucket = bucket.ID{} }),
		"two buckets":             {c[3], other[1]},
		"unknown bucket":          other[1:],
		"second stretch entry":    {c[3], change(c[4], func(e *logstore.Entry) { e.Height = 9 })[0]},
	} {
		job := jobOf(stretch[len(stretch)-1])
		added, err := s.Append(s.Context(), stretch, &job, true)
		s.Logf("%s: %v", name, err)
		s.is(err, logstore.ErrGap)
		s.same("added", added, []logstore.Entry(nil))
	}
	s.same("log", s.walked(id(1), bucket.Head{}), newestFirst(c[:3]))
	s.same("jobs", s.jobs(), []logstore.Job(nil))
	_, err := s.Bucket(s.Context(), id(2))
	s.is(err, logstore.ErrNotFound)
}

func (s *suite) appendRepeats() {
	c := chain(id(1), nil, 6, "a")
	s.add(c[:4], nil, false)
	before := s.bucket(id(1))
	for _, known := range [][]logstore.Entry{c[:4], c[:1], c[1:3], c[3:4]} {
		added, err := s.Append(s.Context(), known, nil, false)
		s.ok(err)
		s.same("added", added, []logstore.Entry(nil))
	}
	s.same("bucket", s.bucket(id(1)), before)
	added, err := s.Append(s.Context(), c[2:], nil, false)
	s.ok(err)
	s.same("added", added, c[4:])
	s.same("versions", s.bucket(id(1)).Versions, uint64(6))
}

func (s *suite) otherGenesis() {
	s.add(chain(id(1), nil, 2, "a"), nil, false)
	before := s.bucket(id(1))
	_, err := s.Append(s.Context(), chain(id(1), nil, 3, "b"), nil, false)
	s.is(err, logstore.ErrGap)
	s.same("bucket", s.bucket(id(1)), before)
	s.add(chain(id(2), nil, 1, "b"), nil, false) // another bucket may have it
}

func (s *suite) longStretch() {
	const n = 12_000 // more than a transaction of a small store
	c := chain(id(1), nil, n, "a")
	job := jobOf(c[n-1])
	s.add(c, &job, true)
	s.same("jobs", s.jobs(), []logstore.Job{job})
	b := s.bucket(id(1))
	s.same("known head", b.Known, c[n-1].Head())
	s.same("versions", b.Versions, uint64(n))
	s.same("walk", s.walked(id(1), bucket.Head{}), newestFirst(c))

	more := chain(id(1), &c[n-1], n, "b")
	middle := jobOf(more[7000])
	s.add(more, &middle, true)
	s.same("jobs", s.jobs(), []logstore.Job{middle})
}

func (s *suite) equalHeights() {
	genesis := successor(id(1), nil, "genesis")
	s.add([]logstore.Entry{genesis}, nil, false)
	siblings := []logstore.Entry{
		successor(id(1), &genesis, "a"), successor(id(1), &genesis, "b"), successor(id(1), &genesis, "c"),
	}
	for i := range siblings {
		s.add(siblings[i:i+1], nil, false)
		largest := newestFirst(siblings[:i+1])[0]
		b := s.bucket(id(1))
		s.same("known head", b.Known, largest.Head())
		s.same("name", b.Name, largest.Name)
		s.same("forks", b.Forks, uint64(i))
	}
	heads, err := s.Heads(s.Context(), id(1), 1)
	s.ok(err)
	want := links(newestFirst(siblings))
	slices.Reverse(want)
	s.same("heads", heads, want)
}

func (s *suite) forks() {
	c := chain(id(1), nil, 10, "a")
	s.add(c, nil, false)
	s.same("forks of a chain", s.bucket(id(1)).Forks, uint64(0))
	branch := chain(id(1), &c[4], 8, "b")
	s.add(branch[:2], nil, false)
	s.same("forks", s.bucket(id(1)).Forks, uint64(1))
	s.same("known head", s.bucket(id(1)).Known, c[9].Head())
	s.add(branch[2:6], nil, false) // passes our head, opens no further branch
	s.same("forks", s.bucket(id(1)).Forks, uint64(1))
	s.same("known head", s.bucket(id(1)).Known, branch[5].Head())
	s.add(chain(id(1), &branch[1], 1, "c"), nil, false)
	s.add(chain(id(1), &c[4], 1, "d"), nil, false)
	s.add(chain(id(1), &c[9], 1, "e"), nil, false) // our old head goes on: no branch, but at a height that is there
	b := s.bucket(id(1))
	s.same("forks", b.Forks, uint64(3))
	s.same("versions", b.Versions, uint64(19))
}

func (s *suite) published() {
	c := chain(id(1), nil, 6, "a")
	c[1].Published, c[4].Published = true, true
	s.add(c[:1], nil, false)
	s.same("published", s.bucket(id(1)).Published, bucket.Head{})
	s.add(c[1:4], nil, false)
	s.same("published", s.bucket(id(1)).Published, c[1].Head())
	s.add(c[4:], nil, false)
	s.same("published", s.bucket(id(1)).Published, c[4].Head())
	branch := chain(id(1), &c[0], 2, "b")
	branch[1].Published = true
	s.add(branch, nil, false)
	s.same("published", s.bucket(id(1)).Published, c[4].Head())
}

// overlapping lets several append parts of one chain, in pieces that overlap.
func (s *suite) overlapping() {
	const workers, versions, piece = 8, 240, 7
	c := chain(id(1), nil, versions, "a")
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		added []logstore.Entry
	)
	for w := range workers {
		wg.Go(func() {
			for from := 0; from < versions; from += piece - w%3 {
				got, err := s.Append(s.Context(), c[from:min(from+piece, versions)], nil, false)
				if err != nil {
					s.Errorf("append: %v", err)
				}
				mu.Lock()
				added = append(added, got...)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	s.same("added", newestFirst(added), newestFirst(c))
	s.same("walk", s.walked(id(1), bucket.Head{}), newestFirst(c))
	b := s.bucket(id(1))
	s.same("versions", b.Versions, uint64(versions))
	s.same("forks", b.Forks, uint64(0))
}

// manyBuckets appends, completes and publishes in many buckets at once: each call sees what the one before it did.
func (s *suite) manyBuckets() {
	const workers, versions = 48, 12
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			c := chain(id(w), nil, versions, "a")
			for i, e := range c {
				job := jobOf(e)
				_, err := s.Append(s.Context(), c[i:i+1], &job, true)
				if err == nil {
					err = s.SetJob(s.Context(), e.Bucket, e.Head(), logstore.JobPublished)
				}
				if err == nil && i%2 == 0 {
					err = s.Complete(s.Context(), e.Bucket, e.Head(), logstore.PinCount{Needed: uint64(i)}, false)
				}
				if err != nil {
					s.Errorf("bucket %d, version %d: %v", w, i, err)
					return
				}
				row, err := s.Bucket(s.Context(), e.Bucket)
				if err != nil || row.Known != e.Head() || row.Versions != uint64(i+1) {
					s.Errorf("got %+v, %v, want head %v", row, err, e.Head())
				}
			}
		})
	}
	wg.Wait()
	for w := range workers {
		c := chain(id(w), nil, versions, "a")
		s.same("complete", s.bucket(id(w)).Complete, c[versions-2].Head())
	}
	s.same("jobs", len(s.jobs()), workers*versions/2)
	for _, j := range s.jobs() {
		s.same("state", j.State, logstore.JobPublished)
	}
}

func (s *suite) longNames() {
	for i, test := range []struct{ name, want string }{
		{strings.Repeat("a", 256), strings.Repeat("a", 256)},
		{strings.Repeat("a", 257), strings.Repeat("a", 256)},
		{strings.Repeat("a", 255) + "é", strings.Repeat("a", 255)},
		{strings.Repeat("a", 253) + "€", strings.Repeat("a", 253) + "€"},
		{strings.Repeat("a", 254) + "€", strings.Repeat("a", 254)},
		{strings.Repeat("\xf0\x9f\x98\x80", 1000), strings.Repeat("\xf0\x9f\x98\x80", 64)},
		{strings.Repeat("\x80", 300), strings.Repeat("\x80", 256)},
		{"", ""},
	} {
		e := successor(id(i), nil, "a")
		e.Name = test.name
		added, err := s.Append(s.Context(), []logstore.Entry{e}, nil, false)
		s.ok(err)
		got, err := s.Entry(s.Context(), id(i), e.Head())
		s.ok(err)
		s.same("name", []string{added[0].Name, got.Name, s.bucket(id(i)).Name}, []string{test.want, test.want, test.want})
	}
}
