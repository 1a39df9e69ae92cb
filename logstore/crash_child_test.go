package logstore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"

	"headwater/bucket"
	"headwater/logstore"
)

// appendForEver is the child: one goroutine for each bucket of its round and of the one before.
func appendForEver() int {
	var round int
	if _, err := fmt.Sscan(os.Getenv("ROUND"), &round); err != nil {
		return 2
	}
	s, err := logstore.OpenSmall(logstore.Config{Dir: os.Getenv("DIR")})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var wg sync.WaitGroup
	for n := max(0, (round-1)*crashBuckets); n < (round+1)*crashBuckets; n++ {
		wg.Go(func() {
			for {
				if err := grow(s, n); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
			}
		})
	}
	wg.Go(func() {
		for {
			if err := branch(s); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
	})
	wg.Wait()
	return 0
}

// forked is the genesis of the bucket that has branches.
var forked = logstore.Entry{Bucket: bucket.ID{0xff}, Link: bucket.ManifestLink([]byte("forked"))}

// branch appends a stretch to the bucket with branches: on one of its tips, or on what that one follows on.
func branch(s *logstore.Badger) error {
	ctx := context.Background()
	if _, err := s.Append(ctx, []logstore.Entry{forked}, nil, false); err != nil {
		return err
	}
	tips, err := s.Tips(ctx, forked.Bucket)
	if err != nil {
		return err
	}
	on, err := s.Entry(ctx, forked.Bucket, tips[rand.N(len(tips))].Head)
	if err != nil {
		return err
	}
	if on.Height > 0 && len(tips) < 50 && rand.N(4) == 0 {
		on = logstore.Entry{Link: on.Previous, Height: on.Height - 1}
	}
	var stretch []logstore.Entry
	length := 1 + rand.N(20)
	if rand.N(20) == 0 {
		length = 1500 // several transactions
	}
	for range length {
		e := logstore.Entry{Bucket: forked.Bucket, Previous: on.Link, Height: on.Height + 1}
		e.Link = bucket.ManifestLink(fmt.Appendf(nil, "%s %d", on.Link, rand.Uint64()))
		stretch, on = append(stretch, e), e
	}
	_, err = s.Append(ctx, stretch, nil, false)
	return err
}

// grow appends one stretch to a bucket, tells so, and sometimes takes its job further.
func grow(s *logstore.Badger, n int) error {
	ctx, next := context.Background(), uint64(0)
	switch b, err := s.Bucket(ctx, version(n, 0).Bucket); {
	case err == nil:
		next = b.Known.Height + 1
	case !errors.Is(err, logstore.ErrNotFound):
		return err
	}
	length := 1 + rand.Uint64N(3000)
	if next >= crashHeight { // long enough: single versions from here on
		length = 1
	}
	if rand.N(3) == 0 {
		return grownByOwn(s, n, version(n, next))
	}
	stretch := versions(n, next, next+length)
	head := stretch[len(stretch)-1]
	if _, err := s.Append(ctx, stretch, jobFor(head), true); err != nil {
		return err
	}
	tell("appended", n, head.Height)
	if rand.N(2) == 0 {
		if err := s.SetJob(ctx, head.Bucket, head.Head(), logstore.JobPublished); err != nil {
			return err
		}
	}
	if rand.N(3) == 0 {
		if err := s.Complete(ctx, head.Bucket, head.Head(), logstore.PinCount{Needed: 1}, false); err != nil {
			return err
		}
		tell("completed", n, head.Height)
	}
	return nil
}

// grownByOwn appends a version as one that was made here, and sometimes removes its upload.
func grownByOwn(s *logstore.Badger, n int, e logstore.Entry) (err error) {
	ctx := context.Background()
	if e.Height%2 == 0 {
		err = s.AppendOwn(ctx, e, jobFor(e), nil)
	} else {
		err = s.AppendOwn(ctx, e, nil, &logstore.PinCount{Needed: 1})
	}
	if err != nil {
		return err
	}
	tell("appended", n, e.Height)
	tell("made", n, e.Height)
	if e.Height%2 == 1 {
		tell("completed", n, e.Height)
	}
	if rand.N(2) == 0 {
		tell("uploading", n, e.Height)
		return s.Uploaded(ctx, e.Bucket, e.Head())
	}
	return nil
}

// tell writes one line to the parent. The full stop shows that the number is whole.
func tell(what string, n int, height uint64) {
	fmt.Fprintf(os.Stdout, "%s %d %d.\n", what, n, height)
}
