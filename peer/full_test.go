package peer_test

import (
	"errors"
	"io"
	"testing"

	"headwater/bucket"
	"headwater/logstore"
	"headwater/peer"
)

// Only what writes is refused, and says why.
func TestLocalFirst_WhatIsHeldCanBeReadFromANearlyFullDisk(t *testing.T) {
	cfg, _ := config(t, "")
	s, ctx := use(t, cfg), t.Context()
	id, src := sharedOffline(t, s)
	closes(t, s)
	cfg.SetFree(func(string) (uint64, error) { return 1 << 20, nil })
	s = use(t, cfg)
	if err := s.Read(ctx, id, "a", "", io.Discard); err != nil {
		t.Errorf("read: %v", err)
	}
	if all, err := s.List(ctx, id, "", "", true); err != nil || len(all) != 1 {
		t.Errorf("list: got %v, %v", all, err)
	}
	out := t.TempDir()
	if c, err := s.Checkout(ctx, id, out, peer.CheckoutOptions{}); err != nil || c.Written != 1 {
		t.Errorf("checkout: got %+v, %v", c, err)
	}
	if found, err := s.Find(ctx, "photos"); err != nil || found != id {
		t.Errorf("find: got %v, %v", found, err)
	}
	files(t, src, map[string]string{"a": "two"})
	if _, err := s.Commit(ctx, id, src, peer.CommitOptions{}); !errors.Is(err, logstore.ErrDiskFull) {
		t.Errorf("commit: got %v, want ErrDiskFull", err)
	}
	closes(t, s)
	cfg.Role = peer.RoleRun
	if _, err := peer.Open(ctx, cfg); !errors.Is(err, logstore.ErrDiskFull) {
		t.Errorf("a run: got %v, want ErrDiskFull", err)
	}
	cfg.Role = ""
	cfg.SetFree(nil)
	if m, err := use(t, cfg).Commit(ctx, id, src, peer.CommitOptions{}); err != nil || m.Height != 2 {
		t.Errorf("commit with room again: got %+v, %v", m, err)
	}
}

// sharedOffline is a bucket with one file, made without a broker.
func sharedOffline(t *testing.T, s *peer.Session) (bucket.ID, string) {
	t.Helper()
	made := must[*peer.Made](t)
	src := t.TempDir()
	files(t, src, map[string]string{"a": "one"})
	id := made(s.Create(t.Context(), "photos", peer.Upload{})).BucketID
	made(s.Commit(t.Context(), id, src, peer.CommitOptions{}))
	return id, src
}
