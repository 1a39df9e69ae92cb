package peer

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

func identityFile(dir string) string { return filepath.Join(dir, "identity.pem") }

// ReadIdentity returns the identity of a directory. [ErrNoIdentity].
func ReadIdentity(dir string) (bucket.Identity, error) {
	b, err := os.ReadFile(identityFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return bucket.Identity{}, fmt.Errorf("%s has %w; make one with 'headwater init', or name the peer's directory with --dir", dir, ErrNoIdentity)
	}
	if err != nil {
		return bucket.Identity{}, fmt.Errorf("read identity: %w", err)
	}
	return ParseIdentity(identityFile(dir), b)
}

// ParseIdentity reads an identity in one of the forms that are imported: the original's PEM file, which is our own, or an nkeys
// seed. bucket.ErrSyntax names the file.
func ParseIdentity(name string, b []byte) (bucket.Identity, error) {
	seed := []byte(nil)
	if block, _ := pem.Decode(b); block != nil && block.Type == pemType {
		seed = block.Bytes
	} else if _, raw, err := nkeys.DecodeSeed(bytes.TrimSpace(b)); err == nil {
		seed = raw
	}
	if len(seed) != bucket.SeedSize {
		return bucket.Identity{}, fmt.Errorf("%s: %w: want a PEM file of type %q that holds %d bytes, or an nkeys seed",
			name, bucket.ErrSyntax, pemType, bucket.SeedSize)
	}
	return bucket.NewIdentity(seed)
}

// WriteIdentity keeps an identity in a directory, which is made if it is missing: durably, and readable by its owner alone. One
// that is there already is never replaced: fs.ErrExist.
func WriteIdentity(dir string, id bucket.Identity) error {
	if err := durable.MakeDirAll(dir); err != nil {
		return fmt.Errorf("make the peer's directory: %w", err)
	}
	b := pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: id.Seed()})
	if err := durable.CreateNew(identityFile(dir), b); err != nil {
		return fmt.Errorf("keep identity: %w", err)
	}
	return nil
}

// MakeIdentity makes a fresh identity and keeps it as [WriteIdentity] does. [ErrNoIdentity] for a directory that holds buckets
// and has lost its identity: a new one could not read them.
func MakeIdentity(dir string) (id bucket.Identity, err error) {
	_, noID := os.Stat(identityFile(dir))
	_, noBuckets := os.Stat(filepath.Join(dir, "manifests"))
	if errors.Is(noID, fs.ErrNotExist) && noBuckets == nil {
		return id, fmt.Errorf("%s holds buckets, and has %w any more: bring back its identity.pem, or import it with "+
			"'headwater init --import'; a new one could read none of them", dir, ErrNoIdentity)
	}
	seed := make([]byte, bucket.SeedSize)
	rand.Read(seed) // never fails: crypto/rand ends the program instead
	if id, err = bucket.NewIdentity(seed); err == nil {
		err = WriteIdentity(dir, id)
	}
	return id, err
}

// EnsureIdentity returns the identity of a directory, made by [MakeIdentity] if it is missing.
func EnsureIdentity(dir string) (bucket.Identity, error) {
	id, err := ReadIdentity(dir)
	if !errors.Is(err, ErrNoIdentity) {
		return id, err
	}
	id, err = MakeIdentity(dir)
	if errors.Is(err, fs.ErrExist) {
		return ReadIdentity(dir) // another process was faster
	}
	return id, err
}
