package publisher_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/publisher"
)

// run runs a publisher for the rest of a test, in its bubble.
func run(t *testing.T, p *publisher.Publisher) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: got %v, want %v", err, context.Canceled)
		}
	}
}

// TestNothingAcknowledgedIsLost_BrokerThatComesBack: what cannot be told is tried again with growing pauses, at once when the
// broker is back, and at once when a version is made.
func TestNothingAcknowledgedIsLost_BrokerThatComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := offline(w)
		w.offline = true
		p := w.publisher()
		defer run(t, p)()
		time.Sleep(time.Hour)
		synctest.Wait()
		tries := len(w.steps)
		if tries < 40 || tries > 150 { // a minute each, give or take a half
			t.Errorf("%d tries in an hour", tries)
		}
		next, err := p.LastError(c.ID)
		if wait := time.Until(next); !errors.Is(err, errFault) || wait < 0 || wait > 90*time.Second {
			t.Errorf("last error %v, next try in %v", err, wait)
		}
		p.Wake(c.ID)
		synctest.Wait()
		if len(w.steps) != tries+1 {
			t.Error("no try after a version was made")
		}
		w.offline = false
		p.Connected()
		synctest.Wait()
		w.checkDone()
		if next, err := p.LastError(c.ID); err != nil || !next.IsZero() {
			t.Errorf("last error %v, next try %v, want none", err, next)
		}
		made := w.make(c)
		p.Wake(c.ID)
		synctest.Wait()
		if w.last().Link != made.Link {
			t.Error("the new version is not announced")
		}
	})
}

// TestPoisonDoesNotBlock_BucketsSideBySide: a bucket whose upload hangs holds up no other, and stopping ends it.
func TestPoisonDoesNotBlock_BucketsSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		hanging := buckettest.New(t, w.me)
		w.make(hanging, w.hold(blob(100<<10, "large"))...)
		for range 30 {
			w.make(buckettest.New(t, w.me), w.hold(blob(5, "small"))...)
		}
		w.onStep = func(ctx context.Context, step string) error {
			if step == "put "+blobStore {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		p := w.publisher()
		stop := run(t, p)
		synctest.Wait()
		if n := w.owes(); n != 1 {
			t.Errorf("%d buckets wait, want 1", n)
		}
		stop()
		if _, err := p.LastError(hanging.ID); err != nil {
			t.Errorf("stopping is kept as a failure: %v", err)
		}
	})
}

// TestPublish_JoinsWhatIsUnderWay: any number of callers, beside Run, put each object once and all see the end.
func TestPublish_JoinsWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := offline(w)
		w.onStep = func(context.Context, string) error {
			time.Sleep(10 * time.Millisecond)
			return nil
		}
		var mu sync.Mutex
		announced := 0
		p := w.publisher(func(c *publisher.Config) {
			c.Announced = func(bucket.ID, bucket.Head, []bucket.Link) {
				mu.Lock()
				defer mu.Unlock()
				announced++
			}
		})
		defer run(t, p)()
		ctx, cancel := context.WithTimeout(t.Context(), 25*time.Millisecond)
		defer cancel()
		var g sync.WaitGroup
		g.Go(func() {
			if err := p.Publish(ctx, c.ID, nil); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the one that gives up: got %v", err)
			}
		})
		for range 10 {
			g.Go(func() {
				var last publisher.Progress
				if err := p.Publish(t.Context(), c.ID, func(g publisher.Progress) { last = g }); err != nil {
					t.Error(err)
				}
				if last.Announced != c.Head().Head() || last.Done != last.Absent || last.Done == 0 {
					t.Errorf("the last report is %+v", last)
				}
			})
		}
		g.Wait()
		w.checkDone()
		for h, n := range w.puts {
			if n != 1 {
				t.Errorf("%s was put %d times", h, n)
			}
		}
		if announced != 1 {
			t.Errorf("the head was told of %d times, want once", announced)
		}
	})
}

// TestPublish_EndsWithItsContext: and another caller goes on.
func TestPublish_EndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := offline(w)
		var mu sync.Mutex
		hang := true
		w.onStep = func(ctx context.Context, step string) error {
			mu.Lock()
			hangs := hang && step == "put "+blobStore
			mu.Unlock()
			if hangs {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		p := w.publisher()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var g sync.WaitGroup
		g.Go(func() {
			if err := p.Publish(ctx, c.ID, nil); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
			}
			mu.Lock()
			hang = false
			mu.Unlock()
		})
		synctest.Wait()
		g.Go(func() {
			start := time.Now()
			if err := p.Publish(t.Context(), c.ID, nil); err != nil {
				t.Error(err)
			}
			if took := time.Since(start); took > time.Minute {
				t.Errorf("the one that waited took %v", took)
			}
		})
		time.Sleep(time.Minute - time.Nanosecond)
		mu.Lock()
		hang = false
		mu.Unlock()
		g.Wait()
		w.checkDone()
	})
}

// TestBounded_BatchesAndStreams: however many buckets and blobs, few batches and streams are under way.
func TestBounded_BatchesAndStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for i := range 6 {
			c := buckettest.New(t, w.me)
			var pins bucket.Pins
			for j := range 300 {
				pins = append(pins, w.hold(blob(60<<10, "small %d %d", i, j))...)
			}
			for j := range 6 {
				pins = append(pins, w.hold(blob(100<<10, "large %d %d", i, j))...)
			}
			w.make(c, pins...)
		}
		var mu sync.Mutex
		now, most := map[string]int{}, map[string]int{}
		w.onStep = func(_ context.Context, step string) error {
			mu.Lock()
			now[step]++
			most[step] = max(most[step], now[step])
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			now[step]--
			mu.Unlock()
			return nil
		}
		p := w.publisher()
		defer run(t, p)()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		w.checkDone()
		if most["batch "+blobStore] != 3 || most["put "+blobStore] != 3 {
			t.Errorf("at most under way: %v", most)
		}
	})
}

// TestNew_RefusesWhatCannotWork: a configuration that lacks something is an error, not a panic.
func TestNew_RefusesWhatCannotWork(t *testing.T) {
	if _, err := publisher.New(publisher.Config{}); err == nil {
		t.Error("an empty configuration is taken")
	}
	if _, err := publisher.New(publisher.Config{Peer: buckettest.Identity(t, 1).PublicKey()}); err == nil {
		t.Error("a configuration without ports is taken")
	}
}
