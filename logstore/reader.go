package logstore

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"headwater/bucket"
)

// reader reads rows out of one state of the database, and of what was buffered then.
type reader struct {
	txn   *badger.Txn
	newer buffer
}

// get calls f with the value of a row, which is valid only while f runs. [ErrNotFound], [ErrDamaged].
func (r reader) get(key []byte, f func(value []byte) error) error {
	item, err := r.txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return valueOf(item, f)
}

// valueOf calls f with the item's value; a failure to read it is [ErrDamaged].
func valueOf(item *badger.Item, f func(value []byte) error) error {
	var inner error
	err := item.Value(func(value []byte) error {
		inner = f(value)
		return nil
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return inner
}

// getRow reads a row with its decoder. [ErrNotFound], [ErrDamaged].
func getRow[T any](r reader, key []byte, decode func(key, value []byte) (T, error)) (t T, err error) {
	err = r.get(key, func(value []byte) (err error) {
		t, err = decode(key, value)
		return err
	})
	return t, err
}

// bucket reads a head row. [ErrNotFound].
func (r reader) bucket(id bucket.ID) (b Bucket, err error) {
	return getRow(r, bucketKey(kindBucket, id), decodeBucket)
}

// bucketOrNew reads a head row, or returns one that holds nothing yet.
func (r reader) bucketOrNew(id bucket.ID) (Bucket, error) {
	b, err := r.bucket(id)
	if errors.Is(err, ErrNotFound) {
		return Bucket{ID: id}, nil
	}
	return b, err
}

// entry reads a version. [ErrNotFound].
func (r reader) entry(id bucket.ID, h bucket.Head) (Entry, error) {
	return getRow(r, headKey(kindEntry, id, h), decodeEntry)
}

// linked reads a version that another row names: if there is none, that is [ErrDamaged].
func (r reader) linked(id bucket.ID, h bucket.Head) (Entry, error) {
	e, err := r.entry(id, h)
	if errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("%w: version %s at height %d of bucket %s is missing", ErrDamaged, h.Link, h.Height, id)
	}
	return e, err
}

// has reports whether there is a row with that key.
func (r reader) has(key []byte) (bool, error) {
	err := r.get(key, func([]byte) error { return nil })
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// job reads a job that is in the database: as it is buffered, or else as it stands there. [ErrNotFound].
func (r reader) job(id bucket.ID, h bucket.Head) (Job, error) {
	return getRow(r, headKey(kindJob, id, h), r.decodeJob)
}

// decodeJob reads a job row with what is buffered for it.
func (r reader) decodeJob(key, value []byte) (Job, error) {
	if newer := r.newer[string(key)]; newer != nil {
		value = *newer
	}
	return decodeJob(key, value)
}

// scan calls f for every row from the key on (in the order of keys, or against it) that begins with prefix, until f returns
// false.
func (r reader) scan(prefix, from []byte, reverse bool, f func(key []byte, item *badger.Item) (bool, error)) error {
	it := r.txn.NewIterator(badger.IteratorOptions{Prefix: prefix, Reverse: reverse})
	defer it.Close()
	for it.Seek(from); it.ValidForPrefix(prefix); it.Next() {
		more, err := f(it.Item().Key(), it.Item())
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// rows is scan with the values of the rows, which are valid only while f runs.
func (r reader) rows(prefix, from []byte, reverse bool, f func(key, value []byte) (bool, error)) error {
	return r.scan(prefix, from, reverse, func(key []byte, item *badger.Item) (more bool, err error) {
		err = valueOf(item, func(value []byte) (err error) {
			more, err = f(key, value)
			return err
		})
		return more, err
	})
}

// bucketLedger is the [ledger] of one bucket.
type bucketLedger struct {
	reader
	id bucket.ID
}

func (l bucketLedger) has(h bucket.Head) (bool, error) {
	return l.reader.has(headKey(kindEntry, l.id, h))
}

func (l bucketLedger) previous(h bucket.Head) (bucket.Link, error) {
	e, err := l.linked(l.id, h)
	return e.Previous, err
}

func (l bucketLedger) succeeded(height uint64, previous bucket.Link) (found bool, err error) {
	prefix := heightKey(kindEntry, l.id, height)
	err = l.rows(prefix, prefix, false, func(key, value []byte) (bool, error) {
		e, err := decodeEntry(key, value)
		found = e.Previous == previous
		return !found, err
	})
	return found, err
}

func (l bucketLedger) jobs() (jobs []Job, err error) {
	prefix := bucketKey(kindJob, l.id)
	err = l.rows(prefix, prefix, false, func(key, value []byte) (bool, error) {
		j, err := l.decodeJob(key, value)
		jobs = append(jobs, j)
		return true, err
	})
	return jobs, err
}

// after returns the smallest key that comes after key.
func after(key []byte) []byte { return append(bytes.Clone(key), 0) }

// last returns a key that comes after every key that begins with prefix, up to the longest that is written.
func last(prefix []byte) []byte {
	return append(bytes.Clone(prefix), bytes.Repeat([]byte{0xff}, headSize+1)...)
}
