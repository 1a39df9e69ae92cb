package logstore

import (
	"bytes"
	"fmt"
	"slices"

	"headwater/bucket"
)

// place is where a job or an upload stands in the outbox.
type place struct {
	bucket bucket.ID
	head   bucket.Head
}

// placed is a [Job] or an [Upload].
type placed[T any] interface {
	place() place
	clone() T // shares nothing with the first
}

// place returns where the job stands.
func (j Job) place() place { return place{j.Bucket, j.Head()} }

// place returns where the upload stands.
func (u Upload) place() place { return place{u.Bucket, u.Head()} }

func (j Job) clone() Job {
	j.Stores, j.Peers = slices.Clone(j.Stores), slices.Clone(j.Peers)
	return j
}

func (u Upload) clone() Upload { return u }

// checkAppend checks the arguments of an append against each other.
func checkAppend(stretch []Entry, job *Job) error {
	err := checkStretch(stretch)
	if err == nil {
		err = checkJob(stretch, job)
	}
	if err != nil && len(stretch) > 0 {
		return failed(err, "append to bucket %s", stretch[0].Bucket)
	}
	return failed(err, "append nothing")
}

// compareIDs orders buckets.
func compareIDs(a, b bucket.ID) int { return bytes.Compare(a[:], b[:]) }

// failed puts the operation and its subject in front of err; nil stays nil.
func failed(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), err)
}
