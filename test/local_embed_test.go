package test_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"headwater/test/natstest"
)

// A program of another module that has a whole peer in it.
const embedding = `package main

import (
	"context"
	"log"
	"os"

	"headwater/jetstream"
	"headwater/peer"
)

func main() {
	ctx, dir := context.Background(), os.Args[1]
	_, err := peer.EnsureIdentity(dir)
	check(err)
	p, err := peer.Open(ctx, peer.Config{Dir: dir, NATS: jetstream.Config{URL: os.Args[2]}})
	check(err)
	run, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- p.Run(run, nil) }()
	made, err := p.Create(ctx, "photos", peer.Upload{})
	check(err)
	_, err = p.Commit(ctx, made.BucketID, os.Args[3], peer.CommitOptions{})
	check(err)
	_, err = p.Checkout(ctx, made.BucketID, os.Args[4], peer.CheckoutOptions{})
	check(err)
	stop()
	check(<-ended)
	check(p.Close(ctx))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
`

func TestEmbeddedPeerInAnotherModule(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	writeTree(t, dir, "main.go", []byte(embedding), 0o644)
	// The versions of what Headwater itself needs, so that nothing has to be looked up.
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	sum, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(mod), "module headwater", "module example.com/embedding", 1) +
		"\nrequire headwater v0.0.0\nreplace headwater => " + root + "\n"
	writeTree(t, dir, "go.mod", []byte(text), 0o644)
	writeTree(t, dir, "go.sum", sum, 0o644)
	bin := filepath.Join(dir, "embedding")
	build := exec.Command("go", "build", "-mod=mod", "-o", bin, ".")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build a program with a peer in it: %v: %s", err, out)
	}
	checkLinksNoServer(t, bin)

	url := natstest.Start(t).URL()
	src, target, peerDir := sourceTree(t, 71, 60), newTarget(t), filepath.Join(t.TempDir(), "peer")
	if out, err := exec.Command(bin, peerDir, url, src, target).CombinedOutput(); err != nil {
		t.Fatalf("run a program with a peer in it: %v: %s", err, out)
	}
	checkSame(t, target, src)
	// The commands find what it made.
	newHeadwater(t, "--dir", peerDir, "--nats", url).checkReads("photos", src)
}

// checkLinksNoServer demands that a client has no NATS server in it.
func checkLinksNoServer(tb testing.TB, bin string) {
	tb.Helper()
	out, err := exec.Command("go", "version", "-m", bin).CombinedOutput()
	if err != nil {
		tb.Fatal(err)
	}
	if strings.Contains(string(out), "github.com/nats-io/nats-server") {
		tb.Errorf("the program has nats-server in it, want the client alone")
	}
}
