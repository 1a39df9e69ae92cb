package main

import (
	"bytes"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/nkeys"

	"headwater/bucket"
	"headwater/durable"
)

// pemType is the tag of an identity file: the original's, whose body is the bare seed (it is not PKCS #8).
const pemType = "PRIVATE KEY"

func (a *app) identityFile() string { return filepath.Join(a.dir, "identity.pem") }

// readIdentity returns the identity of the directory; fs.ErrNotExist where there is none.
func (a *app) readIdentity() (bucket.Identity, error) {
	b, err := os.ReadFile(a.identityFile())
	if err != nil {
		return bucket.Identity{}, err
	}
	return parseIdentity(a.identityFile(), b)
}

// parseIdentity reads an identity in one of the forms that are imported: the original's PEM file, which is our own, or an
// nkeys seed.
func parseIdentity(name string, b []byte) (bucket.Identity, error) {
	seed := []byte(nil)
	if block, _ := pem.Decode(b); block != nil && block.Type == pemType {
		seed = block.Bytes
	} else if _, raw, err := nkeys.DecodeSeed(bytes.TrimSpace(b)); err == nil {
		seed = raw
	}
	if len(seed) != bucket.SeedSize {
		return bucket.Identity{}, fmt.Errorf("%s: %w: want a PEM file of type %q that holds %d octets, or an nkeys seed",
			name, bucket.ErrSyntax, pemType, bucket.SeedSize)
	}
	return bucket.NewIdentity(seed)
}

// makeIdentity makes the directory and a fresh identity in it.
func (a *app) makeIdentity() (bucket.Identity, error) {
	seed := make([]byte, bucket.SeedSize)
	rand.Read(seed) // never fails: crypto/rand ends the program instead
	id, err := bucket.NewIdentity(seed)
	if err != nil {
		return id, err
	}
	return id, a.writeIdentity(id)
}

// writeIdentity keeps an identity, durably and readable by its owner alone. One that is there already is never replaced:
// fs.ErrExist.
func (a *app) writeIdentity(id bucket.Identity) error {
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return fmt.Errorf("make the peer's directory: %w", err)
	}
	f, err := os.CreateTemp(a.dir, ".identity-*") // mode 0600
	if err != nil {
		return fmt.Errorf("keep identity: %w", err)
	}
	defer os.Remove(f.Name())
	err = errors.Join(
		pem.Encode(f, &pem.Block{Type: pemType, Bytes: id.Seed()}), f.Sync(), f.Close(),
	)
	if err == nil {
		err = os.Link(f.Name(), a.identityFile()) // unlike a rename, it does not replace
	}
	if err == nil {
		err = durable.SyncDir(a.dir)
	}
	if err != nil {
		return fmt.Errorf("keep identity: %w", err)
	}
	return nil
}

// ensureIdentity returns the identity of the directory, made where missing.
func (a *app) ensureIdentity() (bucket.Identity, error) {
	id, err := a.readIdentity()
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	id, err = a.makeIdentity()
	if errors.Is(err, fs.ErrExist) {
		return a.readIdentity() // another process was faster
	}
	return id, err
}
