package logtest

import (
	"errors"
	"fmt"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"headwater/bucket"
	"headwater/logstore"
)

// anyOrder grows random trees of versions and appends them twice, in different orders of stretches that are valid when it is
// their turn. Both logs must be what a simple model says.
func (s *suite) anyOrder() {
	n := 0
	rapid.Check(s.T, func(t *rapid.T) {
		parents := drawTree(t)
		var rows []logstore.Bucket
		for _, order := range []string{"one", "other"} {
			n++
			tree := treeOf(id(n), parents)
			s.appendAll(t, order, tree, parents)
			s.checkTree(t, tree, parents)
			row, err := s.Bucket(s.Context(), id(n))
			if err != nil {
				t.Fatalf("bucket: %v", err)
			}
			rows = append(rows, row)
		}
		for i, row := range rows { // another bucket has other links, so the places in the tree are compared
			tree := treeOf(row.ID, parents)
			if want := modelOf(tree, parents); !cmp.Equal(row, want) {
				t.Fatalf("log %d (-want +got):\n%s", i, cmp.Diff(want, row))
			}
		}
	})
}

// drawTree returns for each version but the first the index of its predecessor.
func drawTree(t *rapid.T) []int {
	parents := make([]int, rapid.IntRange(1, 30).Draw(t, "versions"))
	for i := range parents {
		if i > 0 {
			parents[i] = rapid.IntRange(max(0, i-4), i-1).Draw(t, "parent")
		}
	}
	return parents
}

// treeOf makes the versions; some are published.
func treeOf(b bucket.ID, parents []int) []logstore.Entry {
	tree := []logstore.Entry{successor(b, nil, "0")}
	for i, p := range parents[1:] {
		e := successor(b, &tree[p], fmt.Sprint(i+1))
		e.Published = i%3 == 0
		tree = append(tree, e)
	}
	return tree
}

// modelOf says what a log with all of the tree must say.
func modelOf(tree []logstore.Entry, parents []int) logstore.Bucket {
	b := logstore.Bucket{ID: tree[0].Bucket, Versions: uint64(len(tree))}
	children := make(map[int]int)
	for i, e := range tree {
		if e.Head().Compare(b.Known) > 0 {
			b.Known, b.Name = e.Head(), e.Name
		}
		if e.Published && e.Head().Compare(b.Published) > 0 {
			b.Published = e.Head()
		}
		if i > 0 {
			if children[parents[i]]++; children[parents[i]] > 1 {
				b.Forks++
			}
		}
	}
	return b
}

// tipsIn returns the versions of the tree that are no predecessor.
func tipsIn(tree []logstore.Entry, parents []int) (tips []logstore.Tip) {
	followed := make(map[int]bool)
	for _, p := range parents[1:] {
		followed[p] = true
	}
	for i, e := range tree {
		if !followed[i] {
			tips = append(tips, logstore.Tip{Head: e.Head()})
		}
	}
	return greatestFirst(tips)
}

// appendAll appends paths of the tree until it is in the log: a random version with some of its ancestors before it. Those that
// leave a gap must be refused and change nothing.
func (s *suite) appendAll(t *rapid.T, order string, tree []logstore.Entry, parents []int) {
	logged := make(map[int]bool)
	for len(logged) < len(tree) {
		at := rapid.IntRange(0, len(tree)-1).Draw(t, order+" version")
		var path []int
		for length := rapid.IntRange(1, 6).Draw(t, order+" length"); length > 0; length-- {
			path = append([]int{at}, path...)
			if at == 0 {
				break
			}
			at = parents[at]
		}
		var stretch []logstore.Entry
		var fresh []bucket.Link
		for _, i := range path {
			stretch = append(stretch, tree[i])
			if !logged[i] {
				fresh = append(fresh, tree[i].Link)
			}
		}
		first := path[0]
		fits := logged[first] || first == 0 || logged[parents[first]]
		added, err := s.Append(s.Context(), stretch, nil, false)
		switch {
		case !fits && !errors.Is(err, logstore.ErrGap):
			t.Fatalf("got error %v, want %v", err, logstore.ErrGap)
		case fits && err != nil:
			t.Fatalf("append: %v", err)
		case fits:
			if !cmp.Equal(links(added), fresh) {
				t.Fatalf("added (-want +got):\n%s", cmp.Diff(fresh, links(added)))
			}
			for _, i := range path {
				logged[i] = true
			}
		}
	}
}

// checkTree compares the entries and the heads of every height with the tree.
func (s *suite) checkTree(t *rapid.T, tree []logstore.Entry, parents []int) {
	want := newestFirst(tree)
	var got []logstore.Entry
	for e, err := range s.Walk(s.Context(), tree[0].Bucket, bucket.Head{}) {
		if err != nil {
			t.Fatalf("walk: %v", err)
		}
		got = append(got, e)
	}
	if d := diff(want, got); d != "" {
		t.Fatalf("walk of tree %v (-want +got):\n%s", parents, d)
	}
	if d := diff(tipsIn(tree, parents), s.tipsOf(tree[0].Bucket)); d != "" {
		t.Fatalf("tips of tree %v (-want +got):\n%s", parents, d)
	}
	byHeight := make(map[uint64][]bucket.Link)
	for i := range want {
		e := want[len(want)-1-i]
		byHeight[e.Height] = append(byHeight[e.Height], e.Link)
	}
	for height, l := range byHeight {
		heads, err := s.Heads(s.Context(), tree[0].Bucket, height)
		if err != nil || !cmp.Equal(heads, l) {
			t.Fatalf("heads of height %d: got %v, %v, want %v", height, heads, err, l)
		}
	}
}
