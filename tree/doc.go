// Package tree reads and writes what a bucket holds: its encrypted directories and files, in the bytes of jax-buckets.
// Here are the pure formats, from bytes to values and back, and operations on trees of them, through a [blobstore.Reader] and a
// [Writer]: no clock, no log, and no other I/O.
//
// A directory is a [Node]: a map from names to entries. An [Entry] is a [Data] (a file, with its media type) or a [Dir], and holds
// two things either way: the link to an encrypted blob, and the secret that opens that blob. So whoever can open one node can open
// all beneath it, and nothing else. A file blob is the file's bytes and nothing more; names and media types are in the node above
// it.
//
// Every blob of a bucket but its manifests and pins lists is encrypted by [Seal] and decrypted by [Open], each as one message;
// large files are processed in pieces, with the same result. The secret of a file or of an inner directory is in the entry that
// points to it. The root node and the operation log are sealed with the secret of their version. It is made anew for each version
// and is in no node: each owner's share in the manifest holds it, wrapped for that owner's key by [Wrap], and [Unwrap] takes it
// out again. A published version holds it in clear.
//
// An [OpsLog] lists the steps from the version before to this one, each an [Op], named by the peer that did it and by that peer's
// counter. It is there for merging versions; the tree is complete without it.
//
// Decoded data is not to be trusted, even if it was sealed with the right secret, since every owner of a bucket has that. Decoders
// take the one canonical encoding of a value and refuse all others, and check limits before they allocate anything: [MaxNodeSize]
// and its like. A refusal is a [*bucket.Refusal] of class malformed, non_canonical, wrong_codec or too_large. Names are kept as
// found, even "..", and [CheckName] reports which of them may become names of real files.
//
// # Whole trees
//
// A [Listing] is all paths of a tree in memory, each with its entry. [Load] reads one, [Find] goes down a single path, and
// [Build] writes one: only nodes, since files are put before. A version costs what has changed in it: Build keeps the blob
// of each directory whose entries are those of the version before, and every other node, the root always, is sealed anew
// under a fresh secret. [Diff] says what differs between two listings, and [Merge] makes one of two that came out of a
// third.
//
// Here the names of a tree are taken for those of real files. Load and Build refuse a tree with a name that [CheckName]
// refuses, and one beyond [MaxFiles], [MaxDepth], [MaxPath] or [MaxTreeSize], which are counted path by path while nodes
// come in: nodes can be shared, so a few small blobs may unfold to any number of files. What is in memory at a time is
// bounded likewise; at the limits a listing takes somewhat more than 1 GiB, for 200,000 files about 60 MiB.
//
// Entries of directories have no place for permissions. Permissions of directories that are not 0o755 are in a file in the root of
// the tree, .headwater-dirs, which Load and Build keep out of listings. Entries of files have metadata, which holds their
// [Attributes]; programs that do not know these, such as the original, see plain files.
//
// # Files
//
// [PutFile] encrypts a plain file into a blob under a fresh secret, and returns its entry; [Restore] and [ReadFile] lead back. The
// format makes one sealed message of a file whatever its size, with the hash of the plain bytes in front, a tag at its end and a
// hash of all of it for a name. So PutFile reads a file beyond [SmallFile] twice: for the plain hash (unless that is known), and
// into the blob; if the two readings differ it returns [ErrChanged]. Restore reads a blob once: into a file that gets its name
// only when hash, tag and plain hash turn out right. [Verify] checks beforehand, all but the plain hash of a file beyond
// SmallFile, for output that cannot be taken back. Either way takes less than 2 MiB of memory for a file of any size, and twice
// the file for one up to SmallFile.
//
// An entry that Headwater wrote has [Attributes] in its metadata. Files are compared by them without being fetched, and what is
// fetched must agree with them.
//
// All values are plain data, safe to share between goroutines as long as nobody writes to them; all functions are safe
// for concurrent use, and keep none of the slices they are given.
package tree
