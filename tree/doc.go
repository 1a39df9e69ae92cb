// Package tree reads and writes what a bucket holds: its encrypted directories and files, in the bytes of jax-buckets.
// What stands here are the pure formats, from octets to values and back: no I/O, no clock, no log.
//
// A directory is a [Node]: a map from names to entries. An [Entry] is a [Data] (a file, with its media type) or a
// [Dir], and holds two things either way: the link to an encrypted blob, and the secret that opens that blob. So
// whoever can open one node can open all beneath it, and nothing else. A file blob is the file's octets and nothing
// more; names and media types stand in the node above it.
//
// Every blob of a bucket but its manifests and pins lists is encrypted by [Seal] and decrypted by [Open], each as one
// message, held in memory whole. The secret of a file or of an inner directory stands in the entry that points to it.
// The root node and the operation log are sealed with the secret of their version, which is made anew for each version
// and stands in no node: each owner's share in the manifest holds it, wrapped for that owner's key by [Wrap], and
// [Unwrap] takes it out again. A published version holds it in clear.
//
// An [OpsLog] says by which steps a version came out of the one before: an [Op] each, named by who did it and by that
// peer's counter. It is there for merging versions; the tree itself is whole without it.
//
// What is decoded is not to be trusted, even where it was sealed with the right secret, since every owner of a bucket
// has that. Decoders take the one canonical encoding of a value and refuse all others, with limits before anything is
// allocated: [MaxNodeSize] and its like. A refusal is a [*bucket.Refusal] of class malformed, non_canonical,
// wrong_codec or too_large. Names are kept as they are found, be they "..", and [CheckName] says which of them may
// become names of real files.
//
// All values are plain data, safe to share between goroutines as long as nobody writes to them; all functions are safe
// for concurrent use, and keep none of the slices they are given.
package tree
