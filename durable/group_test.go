package durable_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"headwater/durable"
)

// stepped is a commit that a test lets end, one batch at a time.
type stepped struct {
	began   [][]int           // all batches so far
	ctx     []context.Context // of each
	results chan error
}

func (s *stepped) commit(ctx context.Context, batch []int) error {
	s.began, s.ctx = append(s.began, batch), append(s.ctx, ctx)
	return <-s.results
}

// callers are calls of Do under way.
type callers struct {
	g   *durable.Group[int]
	err map[int]error // by item, of those that returned
	mu  sync.Mutex
}

// do calls Do for each item, one after the other, and returns when all of them wait.
func (c *callers) do(ctx context.Context, items ...int) {
	for _, item := range items {
		go func() {
			err := c.g.Do(ctx, item)
			c.mu.Lock()
			defer c.mu.Unlock()
			c.err[item] = err
		}()
		synctest.Wait()
	}
}

func (c *callers) want(t *testing.T, want map[int]error) {
	t.Helper()
	synctest.Wait()
	if len(c.err) != len(want) {
		t.Errorf("got %d calls that returned, %v, want %d", len(c.err), c.err, len(want))
	}
	for item, err := range want {
		if got, returned := c.err[item]; !returned || !errors.Is(got, err) {
			t.Errorf("item %d: got %v (returned: %t), want %v", item, got, returned, err)
		}
	}
}

func newStepped(cfg durable.GroupConfig[int]) (*stepped, *callers) {
	s := &stepped{results: make(chan error)}
	cfg.Commit = s.commit
	return s, &callers{g: durable.NewGroup(cfg), err: make(map[int]error)}
}

// end ends the commit under way.
func (s *stepped) end(err error) {
	s.results <- err
	synctest.Wait()
}

func (s *stepped) want(t *testing.T, batches ...[]int) {
	t.Helper()
	if !slices.EqualFunc(s.began, batches, slices.Equal) {
		t.Errorf("got batches %v, want %v", s.began, batches)
	}
}

func TestGroupGathersWhileACommitIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := newStepped(durable.GroupConfig[int]{})
		broken := errors.New("broken")
		c.do(t.Context(), 1, 2, 3, 4)
		s.want(t, []int{1})
		s.end(nil)
		c.want(t, map[int]error{1: nil})
		c.do(t.Context(), 5)
		s.end(broken) // that of one batch is nobody else's
		s.end(nil)
		s.want(t, []int{1}, []int{2, 3, 4}, []int{5})
		c.want(t, map[int]error{1: nil, 2: broken, 3: broken, 4: broken, 5: nil})
	})
}

func TestGroupKeepsItsLimits(t *testing.T) {
	tests := []struct {
		name string
		cfg  durable.GroupConfig[int]
		want [][]int
	}{
		{"none", durable.GroupConfig[int]{}, [][]int{{1}, {2, 3, 9, 4, 5, 6}}},
		{"count", durable.GroupConfig[int]{MaxCount: 2}, [][]int{{1}, {2, 3}, {9, 4}, {5, 6}}},
		{"weighed count", durable.GroupConfig[int]{MaxCount: 9, Weigh: func(i int) (int, int) { return i, 0 }},
			[][]int{{1}, {2, 3}, {9}, {4, 5}, {6}}},
		{"size, and one beyond it", durable.GroupConfig[int]{MaxSize: 8, Weigh: func(i int) (int, int) { return 1, i }},
			[][]int{{1}, {2, 3}, {9}, {4}, {5}, {6}}},
		{"count and size", durable.GroupConfig[int]{MaxCount: 2, MaxSize: 13, Weigh: func(i int) (int, int) { return 1, i }},
			[][]int{{1}, {2, 3}, {9, 4}, {5, 6}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, c := newStepped(tt.cfg)
				c.do(t.Context(), 1, 2, 3, 9, 4, 5, 6)
				for range tt.want {
					s.end(nil)
				}
				s.want(t, tt.want...)
			})
		})
	}
}

func TestGroupForgetsWhoLeavesBeforeTheCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := newStepped(durable.GroupConfig[int]{})
		leaving, leave := context.WithCancel(t.Context())
		c.do(t.Context(), 1)
		c.do(leaving, 2) // would commit next
		c.do(t.Context(), 3)
		c.do(leaving, 4)
		leave()
		c.want(t, map[int]error{2: context.Canceled, 4: context.Canceled})
		c.do(leaving, 5) // does not even come
		s.end(nil)
		s.end(nil)
		s.want(t, []int{1}, []int{3})
		c.want(t, map[int]error{1: nil, 2: context.Canceled, 3: nil, 4: context.Canceled, 5: context.Canceled})
	})
}

func TestGroupTellsWhoLeavesDuringTheCommitWhatBecameOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := newStepped(durable.GroupConfig[int]{})
		first, leaveFirst := context.WithCancel(t.Context())
		second, leaveSecond := context.WithCancel(t.Context())
		c.do(t.Context(), 1)
		c.do(first, 2) // commits both
		c.do(second, 3)
		s.end(nil)
		leaveFirst()
		c.want(t, map[int]error{1: nil})
		if err := s.ctx[1].Err(); err != nil {
			t.Errorf("the context of a commit that somebody waits for: got %v, want no end", err)
		}
		leaveSecond()
		c.want(t, map[int]error{1: nil})
		if s.ctx[1].Err() == nil {
			t.Error("the context of a commit that nobody waits for has not ended")
		}
		s.end(nil)
		s.want(t, []int{1}, []int{2, 3})
		c.want(t, map[int]error{1: nil, 2: nil, 3: nil})
	})
}

// Whatever is cancelled when: what was committed and what was answered are the same, and nothing is committed twice.
func TestGroupAnswersAreTrue(t *testing.T) {
	committed, running := make(map[int]int), false
	g := durable.NewGroup(durable.GroupConfig[int]{MaxCount: 7, Commit: func(_ context.Context, batch []int) error {
		if running {
			t.Error("two commits at a time")
		}
		running = true
		defer func() { running = false }()
		runtime.Gosched() // others come, or leave
		if rand.N(4) == 0 {
			return errors.New("failed")
		}
		for _, item := range batch {
			committed[item]++
		}
		return nil
	}})
	const workers, each = 16, 200
	answers := make([]error, workers*each)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w * each; i < (w+1)*each; i++ {
				ctx, cancel := context.WithTimeout(t.Context(), rand.N(60*time.Microsecond))
				answers[i] = g.Do(ctx, i)
				cancel()
			}
		})
	}
	wg.Wait()
	for i, err := range answers {
		if want := map[bool]int{true: 1}[err == nil]; committed[i] != want {
			t.Fatalf("item %d: answered %v, committed %d times", i, err, committed[i])
		}
	}
}
