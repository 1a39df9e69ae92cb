package logstore

import (
	"context"
	"time"
)

// trimEvery is how often Trim looks at the memory that tables hold.
const trimEvery = time.Second

// Trim gives the memory of mapped tables back every second, until ctx ends, which is no error. Badger merges tables while nobody
// writes, and reads them through mappings; what it has touched stays resident until somebody says that it may go. Without Trim
// that is said only while rows are written. Trim must have returned before Close is called.
func (s *Badger) Trim(ctx context.Context) error {
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.log.release()
		}
	}
}
