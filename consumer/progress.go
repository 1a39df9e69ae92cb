package consumer

import (
	"time"

	"headwater/bucket"
)

// tellEvery is how often a catch-up that takes longer than that tells how far it is.
const tellEvery = time.Second

// Progress is how far a catch-up has come. What an interrupted one has left counts as here.
type Progress struct {
	Total    uint64 `json:"total"`    // versions that were missing when it began, by the height of the announced head
	Fetched  uint64 `json:"fetched"`  // of those, how many are here
	Appended uint64 `json:"appended"` // of those, how many are in the log
}

// progress counts for the bucket's one worker, and tells: status whenever it is asked, and everybody by events.
type progress struct {
	c      *Consumer
	m      Message
	target bucket.Head
	known  bucket.Head // when it began
	now    Progress
	told   time.Time
}

// fetched notes that n more versions are here. Some may turn out to be others than those that are missing.
func (p *progress) fetched(n uint64) {
	p.now.Fetched = min(p.now.Fetched+n, p.now.Total)
	p.tell()
}

// appended notes that the log reaches up to a height.
func (p *progress) appended(height uint64) {
	p.now.Appended = min(versionsBetween(p.known, bucket.Head{Height: height}), p.now.Total)
	p.now.Fetched = max(p.now.Fetched, p.now.Appended)
	p.tell()
}

func (p *progress) tell() {
	p.c.board.catchingUp(p.m, p.target, p.now)
	now := p.c.Now()
	if now.Sub(p.told) < tellEvery {
		return
	}
	p.told = now
	progress := p.now
	p.c.emit(Message{Bucket: p.m.Bucket}, EventProgress, Event{Link: p.target.Link, Height: p.target.Height, Progress: &progress})
}
