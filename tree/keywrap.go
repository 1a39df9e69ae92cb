package tree

import (
	"crypto/aes"
	"crypto/subtle"
	"encoding/binary"
)

// AES key wrap (RFC 3394) of 32 bytes under a key of 32 bytes, with the default initial value.

const (
	wrapRounds = 6
	wrapBlocks = 4 // of 8 bytes, in 32
	wrapIV     = 0xa6a6a6a6a6a6a6a6
)

// wrapKey is RFC 3394 §2.2.1.
func wrapKey(kek, key [32]byte) (wrapped [40]byte, err error) {
	c, err := aes.NewCipher(kek[:])
	if err != nil {
		return wrapped, err
	}
	binary.BigEndian.PutUint64(wrapped[:8], wrapIV)
	copy(wrapped[8:], key[:])
	var block [aes.BlockSize]byte
	copy(block[:8], wrapped[:8])
	for t := range uint64(wrapRounds * wrapBlocks) {
		r := wrapped[8+8*(t%wrapBlocks):][:8]
		copy(block[8:], r)
		c.Encrypt(block[:], block[:])
		binary.BigEndian.PutUint64(block[:8], binary.BigEndian.Uint64(block[:8])^(t+1))
		copy(r, block[8:])
	}
	copy(wrapped[:8], block[:8])
	return wrapped, nil
}

// unwrapKey is RFC 3394 §2.2.2. ok is false, and the key zero, if the integrity check fails; that check takes the
// same time whatever it finds.
func unwrapKey(kek [32]byte, wrapped [40]byte) (key [32]byte, ok bool, err error) {
	c, err := aes.NewCipher(kek[:])
	if err != nil {
		return key, false, err
	}
	var block [aes.BlockSize]byte
	copy(block[:8], wrapped[:8])
	for t := uint64(wrapRounds * wrapBlocks); t > 0; t-- {
		r := wrapped[8+8*((t-1)%wrapBlocks):][:8]
		binary.BigEndian.PutUint64(block[:8], binary.BigEndian.Uint64(block[:8])^t)
		copy(block[8:], r)
		c.Decrypt(block[:], block[:])
		copy(r, block[8:])
	}
	iv := binary.BigEndian.AppendUint64(nil, wrapIV)
	if subtle.ConstantTimeCompare(block[:8], iv) != 1 {
		return key, false, nil
	}
	return [32]byte(wrapped[8:]), true, nil
}
