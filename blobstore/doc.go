// Package blobstore keeps bytes by their hash. A blob is a run of bytes named by its BLAKE3 hash, so it never changes,
// and whoever holds the hash can tell the right bytes from wrong ones.
//
// A [Reader] hands out blobs, a [Store] takes them too. Other abilities have interfaces of their own: [Adder],
// [BatchPutter], [Deleter], [Lister], [Sizer]. [Disk] is the durable store, [Memory] the one for tests and small tools;
// package blobtest holds the suite that every store passes.
//
// # Verified by construction
//
// Put takes the hash first and keeps nothing that does not hash to it. Get hands out a [Blob], which hashes what passes
// through it: a caller who reads to the end gets either the right bytes or [ErrCorrupt], never wrong ones unnoticed.
// [Verify] does the same for bytes that come from anywhere else. Bytes handed out before the end are not verified yet: read
// to the end before you act on them. [ReadAll] does that, within a limit.
//
// # Disk
//
// A blob of more than [SmallSize] bytes is a file of its own: written under a temporary name, synced, renamed, and its
// directory synced. Smaller blobs are records in segments, append-only files of about 64 MiB, so that thousands of them cost
// neither a file nor a sync each: callers that come at the same time share one write and one sync, and [Disk.PutBatch] has
// one for the whole batch. The last segment is the active one and has its index in memory; a full segment is sealed with a
// sorted index on disk beside it, of which a fan-out table and a filter stay in memory (some 130 KiB for 65,536 blobs).
// A deletion is a record too, a tombstone; a sealed segment that is more than half dead is rewritten by the Delete that
// notices.
//
// Whatever happens between two steps of a Put, the store opens again with every blob that was acknowledged. Bytes found
// damaged are counted ([Disk.Damage]) and no longer held, so that whoever needs them fetches them again; damage never takes
// sound records with it.
//
// The directory:
//
//	lock            held while a process has the store open
//	format          version, and the salt that marks this store's records
//	tmp/            files being written, swept on open
//	large/00…ff/    one file for each large blob, named by its hash
//	small/          segments (.seg) and their indexes (.idx)
//	damaged/        large blobs that failed verification, each kept until a good copy arrives
package blobstore
