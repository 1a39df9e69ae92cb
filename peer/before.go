package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"headwater/bucket"
	"headwater/durable"
	"headwater/logstore"
)

// The program of format 1 kept in buckets/ what commands had verified: a file for each bucket, with its newest head. A bucket
// of which the log has no version yet is looked at from that head first, so that its genesis is the one that was trusted
// then. Once the log has the head, the file is no longer needed and is removed.

// verifiedHead is what is read of such a file.
type verifiedHead struct {
	Bucket   bucket.ID   `json:"bucket_id"`
	Head     bucket.Head `json:"head"`
	Manifest []byte      `json:"manifest"`
}

func verifiedFile(dir string, id bucket.ID) string {
	return filepath.Join(dir, "buckets", id.String()+".json")
}

// verifiedBefore returns the head of a bucket that an older program had verified, as an announcement; mostly there is none.
func (p *Peer) verifiedBefore(id bucket.ID) []bucket.Announcement {
	b, err := os.ReadFile(verifiedFile(p.cfg.Dir, id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var v verifiedHead
	if err == nil {
		err = json.Unmarshal(b, &v)
	}
	if err == nil && (v.Bucket != id || bucket.ManifestLink(v.Manifest) != v.Head.Link) {
		err = errors.New("bucket, head and manifest do not belong together")
	}
	if err != nil {
		p.cfg.Logger.Warn("what an older program had verified of a bucket cannot be read", "bucket", id, "error", err)
		return nil
	}
	return []bucket.Announcement{{
		Link: v.Head.Link, Height: &v.Head.Height, Bucket: id, Peer: p.ID(), Hints: bucket.Hints{Manifest: v.Manifest},
	}}
}

// forgetVerified removes the file of a bucket if the log has what it says.
func (p *Peer) forgetVerified(ctx context.Context, id bucket.ID, before []bucket.Announcement) error {
	if len(before) == 0 {
		return nil
	}
	_, err := p.stores.log.Entry(ctx, id, bucket.Head{Link: before[0].Link, Height: *before[0].Height})
	if errors.Is(err, logstore.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	file := verifiedFile(p.cfg.Dir, id)
	if err := durable.Remove(file); err != nil {
		return err
	}
	return durable.Remove(strings.TrimSuffix(file, ".json") + ".lock")
}

// bucketsBefore lists the buckets of which an older program had verified a version.
func (p *Peer) bucketsBefore() (ids []bucket.ID, err error) {
	entries, err := os.ReadDir(filepath.Join(p.cfg.Dir, "buckets"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read what an older program had verified: %w", err)
	}
	for _, e := range entries {
		name, isJSON := strings.CutSuffix(e.Name(), ".json")
		if id, err := bucket.ParseID(name); err == nil && isJSON {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// namedBefore lists those of them that the log does not have and that a person may mean.
func (p *Peer) namedBefore(ctx context.Context, name string) (found []bucket.ID, err error) {
	ids, err := p.bucketsBefore()
	for _, id := range ids {
		if _, err := p.bucket(ctx, id); !errors.Is(err, ErrNoBucket) {
			continue // its name may be another one by now
		}
		for _, a := range p.verifiedBefore(id) {
			v, err := bucket.Open(a.Link, a.Hints.Manifest)
			if err == nil && meant(name, id, v.Name) {
				found = append(found, id)
			}
		}
	}
	return found, err
}

// hearVerifiedBefore takes into the log what an older program had verified, before anything else is heard of these buckets.
func (p *Peer) hearVerifiedBefore(ctx context.Context) error {
	ids, err := p.bucketsBefore()
	if err != nil {
		return err
	}
	for _, id := range ids {
		before := p.verifiedBefore(id)
		ignored, err := p.consumer.Look(ctx, id, before)
		if err == nil {
			err = p.forgetVerified(ctx, id, before)
		}
		if err != nil {
			return err
		}
		for _, i := range ignored {
			p.cfg.Logger.Warn("what an older program had verified is not taken over yet", "bucket", id, "link", i.Link, "error", i.Err)
		}
	}
	return nil
}
