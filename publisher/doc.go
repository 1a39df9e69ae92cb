// Package publisher works off what a peer owes the broker: versions that were made here, or that the broker has lost, become
// objects and announcements.
//
// The debts are the uploads of the log ([logstore.Uploads]). A version is recorded there in the same durable step as its log
// entry, so it exists, and can be read, before anybody is told; this package tells. It reads the peer's own log and blobs,
// and asks the object stores only what they lack.
//
// # Order
//
// One bucket is worked off in rounds. Each step is durable before the next one begins, so a crash anywhere leaves a state from
// which the same steps go on:
//
//  1. The manifests of all its uploads that the store of manifests lacks. If it lacks the one next below an unmerged tip, or if
//     the tip is told of again, the stores may lack anything: then those of all versions below, too.
//  2. For each upload that is an unmerged tip of the log, the blobs that the store of blobs lacks of what was added since the newest
//     version that is not owed; and, if the stores may lack anything, of what was there before.
//  3. The packs that the hints name, then the announcement: the greatest of those tips, the others in its field "heads". Then
//     the log's announced head moves.
//  4. The blobs that the store lacks of what was there before. Then the uploads of what was announced are cleared.
//  5. The blobs of the other uploads, whose versions are below what was announced, newest first. Then their uploads are cleared.
//
// A head is never announced before the stores have all that it added. If a blob that it added is held neither here nor there, its
// upload is held up ([ErrIncomplete]), and no other. An inherited blob that nobody has is logged, and holds up nothing.
//
// # Limits
//
// At most eight buckets are worked off side by side, each by one goroutine at a time, however many ask. Blobs of up to 64 KiB
// go in batches of up to 8 MiB, at most three at once; larger ones are streamed, at most three at once. So memory is bounded by
// 24 MiB, what [Stores.Put] holds for three streams, and for each bucket at work five pins lists (32 bytes a pin), 130 bytes
// for each upload, and 8 MiB of packs. One announcement packs at most 8,192 versions: the hints of a longer chain of which
// nothing is known begin anew, at a version whose height is a multiple of 128.
package publisher
