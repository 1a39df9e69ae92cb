package peer_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"headwater/bucket/buckettest"
)

// Nobody has looked at the bucket since the directory was made by an older program, and no broker answers.
func TestFindKnowsTheNamesOfWhatAnOlderProgramHadVerified(t *testing.T) {
	cfg, me := config(t, "")
	c := buckettest.New(t, me).Grow(t, 2)
	head := c.Head()
	b, err := json.Marshal(map[string]any{"bucket_id": head.Bucket, "head": head.Head(), "manifest": head.Encoded()})
	if err == nil {
		err = os.Mkdir(filepath.Join(cfg.Dir, "buckets"), 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(cfg.Dir, "buckets", head.Bucket.String()+".json"), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	s := use(t, cfg)
	for _, name := range []string{head.Name, head.Bucket.String()[:9]} {
		if id, err := s.Find(t.Context(), name); err != nil || id != head.Bucket {
			t.Errorf("got %v, %v of %q, want bucket %s", id, err, name, head.Bucket)
		}
	}
}
