// Package bucket holds the words and the rules of Headwater: pure values, their encodings, and the checks that decide who
// may write a version. It does no I/O, reads no clock and logs nothing.
//
// A bucket is a versioned, encrypted tree of files, named by an [ID]. One version of it is a [Manifest]: its height (genesis
// is 0), the link to its predecessor, the links to its root node and its list of pins, and the shares, which say who may
// hold the bucket and in which [Role]. A [Link] is a content address: codec and BLAKE3 hash. A manifest is named by the
// link to its own bytes, so a chain of versions is a chain of hashes, and each version is signed by an owner of the one
// before.
//
// What arrives from outside goes through one door: [Open] takes a link and the bytes that somebody says it points to, and
// returns a [Version] only if the bytes hash to the link, are within [MaxManifestSize], and are the one canonical
// DAG-CBOR encoding of what they say. [Rules.Succeed] then checks a version against its direct predecessor. Every refusal
// is a [*Refusal] with a [Class] from a closed list; a refused version can never become right.
//
// The bytes are those of jax-buckets: a manifest written by one is valid in the other. Beside manifests the package reads
// and writes pins lists ([ParsePins]), and the two messages of the wire, [Announcement] and [PinJob], which are hints and
// never proofs.
//
// All values are plain data, safe to share between goroutines as long as nobody writes to them. Functions do not keep the
// slices they are given, unless they say so.
package bucket
