package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/zeebo/blake3"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/durable"
	"headwater/jetstream"
)

func (a *app) putCommand() *cobra.Command {
	var store string
	var manifest bool
	cmd := &cobra.Command{
		Use: "put FILE...", Short: "Put files into an object store, named by their hash",
		Long: `Put files into an object store, each named by its BLAKE3 hash, and print their links.
What the store has already is not sent again. With --manifest the files must be
strict manifests, and go to the store of manifests. - is standard input.`,
		Example: "  headwater put video.mp4\n  headwater put --manifest 0.cbor 1.cbor 2.cbor",
		Args:    usageArgs(cobra.MinimumNArgs(1)),
		RunE: a.onBroker(func(ctx context.Context, c *jetstream.Client, args []string) error {
			for _, name := range args {
				if err := a.runPut(ctx, c, store, manifest, name); err != nil {
					return fmt.Errorf("put %s: %w", name, err)
				}
			}
			return nil
		}),
	}
	cmd.Flags().StringVar(&store, "store", "", "object store: NAME or DOMAIN/NAME (default PREFIX-blobs, or PREFIX-manifests)")
	cmd.Flags().BoolVar(&manifest, "manifest", false, "the files are manifests")
	return cmd
}

// runPut hashes a file, then sends it: its hash has to be known before the first byte is stored.
func (a *app) runPut(ctx context.Context, c *jetstream.Client, store string, manifest bool, name string) error {
	f, remove, err := a.openSeekable(ctx, name)
	if err != nil {
		return err
	}
	defer remove()
	link, size, err := linkOfFile(ctx, f, manifest)
	if err != nil {
		return err
	}
	if store == "" {
		store = c.Names().BlobStore()
		if manifest {
			store = c.Names().ManifestStore()
		}
	}
	if err := a.ensureStores(ctx, c, store); err != nil {
		return err
	}
	p := newProgress(a.err, "put "+filepath.Base(name))
	p.size = size
	defer p.end()
	if err := c.PutObject(ctx, store, link.Hash(), size, io.TeeReader(f, p)); err != nil {
		return err
	}
	p.end()
	return a.printPut(link, store, size)
}

// ensureStores makes Headwater's own stores if they are absent: the first put may come before the first peer.
func (a *app) ensureStores(ctx context.Context, c *jetstream.Client, store string) error {
	if n := c.Names(); store != n.BlobStore() && store != n.ManifestStore() {
		return nil
	}
	_, err := c.Absent(ctx, store, make([]bucket.Hash, 1))
	if !errors.Is(err, jetstream.ErrNotFound) {
		return nil // what is wrong shows when the object is put
	}
	_, err = c.Ensure(ctx, jetstream.EnsureConfig{})
	return err
}

// linkOfFile reads a file to its end and goes back to its beginning.
func linkOfFile(ctx context.Context, f io.ReadSeeker, manifest bool) (link bucket.Link, size int64, err error) {
	if manifest {
		b, err := io.ReadAll(io.LimitReader(interruptible{ctx: ctx, r: f}, bucket.MaxManifestSize+1))
		if err != nil {
			return link, 0, err
		}
		v, err := bucket.Open(bucket.ManifestLink(b), b)
		if err != nil {
			return link, 0, err
		}
		link, size = v.Link, int64(len(b))
	} else {
		h := blake3.New()
		if size, err = io.Copy(h, interruptible{ctx: ctx, r: f}); err != nil {
			return link, 0, err
		}
		link = bucket.NewLink(bucket.CodecRaw, bucket.Hash(h.Sum(nil)))
	}
	_, err = f.Seek(0, io.SeekStart)
	return link, size, err
}

// openSeekable opens a file, or a copy of standard input or of whatever else can be read only once. remove closes it, and
// removes the copy.
func (a *app) openSeekable(ctx context.Context, name string) (f *os.File, remove func(), err error) {
	from := a.in
	if name != "-" {
		f, from, err = openFile(ctx, name)
		if errors.Is(err, os.ErrNotExist) {
			err = fmt.Errorf("%w: %w", errNotFound, err)
		}
		if err != nil {
			return nil, nil, err
		}
		closeIt := func() { _ = f.Close() }
		if _, err := f.Seek(0, io.SeekCurrent); err == nil {
			return f, closeIt, nil
		}
		defer closeIt()
	}
	if f, err = os.CreateTemp("", "headwater-put-*"); err != nil {
		return nil, nil, err
	}
	copied := f
	remove = func() {
		_ = copied.Close()
		os.Remove(copied.Name())
	}
	if _, err = io.Copy(f, from); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		remove()
	}
	return f, remove, err
}

func (a *app) printPut(link bucket.Link, store string, size int64) error {
	return a.answer(struct {
		Link  bucket.Link `json:"link"`
		Hash  bucket.Hash `json:"hash"`
		Store string      `json:"store"`
		Size  int64       `json:"size"`
	}{link, link.Hash(), store, size}, "%s\n", link)
}

func (a *app) getCommand() *cobra.Command {
	var store, output string
	cmd := &cobra.Command{
		Use: "get LINK|HASH", Short: "Get an object, verified against its hash",
		Long: `Get an object of an object store, verified against its hash while it streams. To a file
it is written under a temporary name first, so that wrong bytes are never left.
To standard output, what was written before a mismatch showed has been written: look
at the exit code, which is 4 then.`,
		Example: "  headwater get bafkr4ihkr4ld3m4gqkjf4reryxsy2s5tkbxprqkow6fin2iiyvreuzzab4 -o file",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: a.onBroker(func(ctx context.Context, c *jetstream.Client, args []string) error {
			return a.runGet(ctx, c, store, output, args[0])
		}),
	}
	cmd.Flags().StringVar(&store, "store", "", "object store: NAME or DOMAIN/NAME (default PREFIX-blobs, or PREFIX-manifests for a link to a manifest)")
	cmd.Flags().StringVarP(&output, "output", "o", "", "file to write; it must not exist (default: standard output)")
	return cmd
}

func (a *app) runGet(ctx context.Context, c *jetstream.Client, store, output, what string) error {
	link, err := bucket.ParseLink(what)
	if err != nil {
		h, hashErr := bucket.ParseHash(what)
		if hashErr != nil {
			return usagef("%.80q is neither a link nor 64 lower-case hex digits", what)
		}
		link = bucket.NewLink(bucket.CodecRaw, h)
	}
	if store == "" {
		store = c.Names().BlobStore()
		if link.Codec() == bucket.CodecDagCBOR {
			store = c.Names().ManifestStore()
		}
	}
	r, size, err := c.Objects().Get(ctx, store, link.Hash(), true)
	if err != nil {
		return fmt.Errorf("get %s from %s: %w", what, store, err)
	}
	defer r.Close()
	p := newProgress(a.err, "get "+what)
	p.size = size
	defer p.end()
	err = a.writeOutput(output, io.TeeReader(blobstore.Verify(r, link.Hash(), size, blobstore.DefaultMaxBlobSize), p))
	if errors.Is(err, blobstore.ErrMismatch) || errors.Is(err, blobstore.ErrTooLarge) {
		return bucket.Refuse(bucket.HashMismatch, link, "what %s holds under it is not what the hash names", store)
	}
	return err
}

// writeOutput writes r to standard output, or to a file that appears when it is whole.
func (a *app) writeOutput(name string, r io.Reader) error {
	if name == "" {
		_, err := io.Copy(a.out, r)
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".headwater-get-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = io.Copy(f, r)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Link(f.Name(), name) // unlike a rename, it does not replace
	}
	if err == nil {
		err = durable.SyncDir(filepath.Dir(name))
	}
	return err
}
