package author

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"headwater/bucket"
)

// Known is a bucket that was verified before.
type Known struct {
	Bucket bucket.ID
	Name   string
	Head   bucket.Head
}

// Buckets lists the buckets that were verified before, ascending by id. Files that cannot be read are [ErrState], joined;
// the list then has all others.
func (s *State) Buckets() ([]Known, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list the buckets that are known: %w", err)
	}
	var all []Known
	var faults []error
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		id, err := bucket.ParseID(name)
		if !ok || err != nil {
			continue
		}
		r, err := s.load(id)
		if err != nil {
			faults = append(faults, err)
		} else if r != nil {
			all = append(all, Known{id, r.head.Name, r.head.Head()})
		}
	}
	return all, errors.Join(faults...)
}
