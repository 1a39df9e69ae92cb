package logtest

import (
	"slices"

	"headwater/bucket"
	"headwater/logstore"
)

// tipsOf reads the tips of a bucket.
func (s *suite) tipsOf(b bucket.ID) []logstore.Tip {
	s.Helper()
	tips, err := s.Tips(s.Context(), b)
	s.ok(err)
	return tips
}

// greatestFirst sorts tips as Tips returns them.
func greatestFirst(tips []logstore.Tip) []logstore.Tip {
	slices.SortFunc(tips, func(x, y logstore.Tip) int { return y.Compare(x.Head) })
	return tips
}

// wantTips expects these tips of the bucket, those that are merged and those that are not.
func (s *suite) wantTips(b bucket.ID, merged, open []logstore.Entry) {
	s.Helper()
	var want []logstore.Tip
	for _, e := range merged {
		want = append(want, logstore.Tip{Head: e.Head(), Merged: true})
	}
	for _, e := range open {
		want = append(want, logstore.Tip{Head: e.Head()})
	}
	got := s.tipsOf(b)
	s.same("tips", got, greatestFirst(want))
	s.same("forks", s.bucket(b).Forks, uint64(len(want)-1))
	s.same("greatest tip", got[0].Head, s.bucket(b).Known)
}

func (s *suite) tips() {
	c := chain(id(1), nil, 17, "a")
	low, high := chain(id(1), &c[4], 3, "b"), chain(id(1), &c[4], 9, "c")
	s.add(chain(id(2), nil, 2, "other"), nil, false)
	for _, step := range []struct {
		add, tips []logstore.Entry
	}{
		{c[:1], c[:1]},
		{c[1:5], c[4:5]},
		{c[5:8], c[7:8]},
		{low[:1], []logstore.Entry{c[7], low[0]}}, // a branch below the head
		{low[1:2], []logstore.Entry{c[7], low[1]}},
		{c[8:10], []logstore.Entry{c[9], low[1]}},            // the head goes on
		{high[:8], []logstore.Entry{c[9], low[1], high[7]}},  // a branch that passes the head at once
		{high[8:], []logstore.Entry{c[9], low[1], high[8]}},  // and goes on
		{c[10:16], []logstore.Entry{c[15], low[1], high[8]}}, // the old head passes it again
		{low[2:], []logstore.Entry{c[15], low[2], high[8]}},  // below all others
		{c[16:], []logstore.Entry{c[16], low[2], high[8]}},   // the head goes on again
	} {
		s.add(step.add, nil, false)
		s.wantTips(id(1), nil, step.tips)
	}
	_, err := s.Append(s.Context(), c, nil, false) // nothing new
	s.ok(err)
	s.wantTips(id(1), nil, []logstore.Entry{c[16], low[2], high[8]})
	s.wantTips(id(2), nil, chain(id(2), nil, 2, "other")[1:])
}

func (s *suite) mergedTips() {
	c := chain(id(1), nil, 10, "a")
	one, two := chain(id(1), &c[4], 3, "b"), chain(id(1), &c[6], 2, "c")
	for _, stretch := range [][]logstore.Entry{c, one, two} {
		s.add(stretch, nil, false)
	}
	merge := func(heads ...bucket.Head) { s.Helper(); s.ok(s.SetMerged(s.Context(), id(1), heads...)) }
	s.wantTips(id(1), nil, []logstore.Entry{c[9], one[2], two[1]})
	merge()
	merge(one[1].Head(), c[4].Head(), bucket.Head{Link: bucket.Link{9}}, c[9].Head()) // no tips, and the known head
	s.wantTips(id(1), nil, []logstore.Entry{c[9], one[2], two[1]})
	for range 2 {
		merge(one[2].Head(), one[1].Head())
		s.wantTips(id(1), one[2:], []logstore.Entry{c[9], two[1]})
	}
	head := chain(id(1), &c[9], 2, "head")
	s.add(head, nil, false) // the mark stays
	s.wantTips(id(1), one[2:], []logstore.Entry{head[1], two[1]})
	merge(two[1].Head(), one[2].Head())
	s.wantTips(id(1), []logstore.Entry{one[2], two[1]}, head[1:])
	late := chain(id(1), &one[2], 2, "late") // somebody goes on from a merged tip
	s.add(late, nil, false)
	s.wantTips(id(1), two[1:], []logstore.Entry{head[1], late[1]})
	past := chain(id(1), &two[1], 20, "past") // and from the other one, past the head
	s.add(past, nil, false)
	s.wantTips(id(1), nil, []logstore.Entry{head[1], late[1], past[19]})
	merge(late[1].Head(), head[1].Head())
	s.wantTips(id(1), []logstore.Entry{head[1], late[1]}, past[19:])
	s.add(chain(id(2), nil, 1, "other"), nil, false)
	s.ok(s.SetMerged(s.Context(), id(2), past[19].Head()))
	s.wantTips(id(1), []logstore.Entry{head[1], late[1]}, past[19:])
}

// longTips appends stretches of more than one transaction to branches.
func (s *suite) longTips() {
	const n = 6000
	c := chain(id(1), nil, n, "a")
	s.add(c, nil, false)
	low, past := chain(id(1), &c[10], n-100, "b"), chain(id(1), &c[n/2], n, "c")
	s.add(low, nil, false)
	s.wantTips(id(1), nil, []logstore.Entry{c[n-1], low[n-101]})
	s.add(past, nil, false) // passes the head on its way
	s.wantTips(id(1), nil, []logstore.Entry{c[n-1], low[n-101], past[n-1]})
	s.ok(s.SetMerged(s.Context(), id(1), low[n-101].Head()))
	back := chain(id(1), &low[n-101], n, "d")
	s.add(back, nil, false)
	s.wantTips(id(1), nil, []logstore.Entry{c[n-1], back[n-1], past[n-1]})
}
