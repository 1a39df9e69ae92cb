// Package logstore keeps the log: which versions of which buckets were verified here, in what order they follow each other, and
// what is still to be done about them. The manifests themselves are blobs; the log is their index, and what it
// says of versions can be made again from them.
//
// A bucket's versions are a tree that grows from one genesis. An [Entry] is one of them, named by its head: the link to its
// manifest, and its height. That an entry is in the log promises that its manifest was verified against its direct predecessor,
// and that the predecessor is in the log as well: so whatever is found has an unbroken chain below it, down to the genesis. The log
// itself checks heights and predecessors ([ErrGap]); who may write a version is checked before, in package bucket. If a version
// has two successors the bucket has a fork. Both branches stay, and the head is the same for everybody who holds the same
// versions: the largest link at the greatest height. A [Bucket] says how far things are: the known head; the complete head, whose
// content is here too; the newest version that anybody may read; and the newest one that was announced.
//
// A version that no other one follows on is a [Tip]. The known head is always one, and each fork adds one. A version can merge
// other branches: whoever appends it marks their tips ([Tips.SetMerged]), and they are no forks any more until somebody who did
// not know of the merge goes on from there.
//
// # The outbox
//
// What this peer owes the broker is recorded in the same step as the version that it is about, since nothing can be sent in
// that step.
//
// Jobs come in: content is downloaded by pin workers, who get their work as messages. [Appender.Append] records the [Job]
// together with its version, whoever publishes reads [Jobs.Jobs] and marks what the broker acknowledged, and [Jobs.Complete]
// removes the job in the step that moves the complete head. A job thus lives until its work is done, whatever dies in between;
// the worst is that its message is published twice, under the same id.
//
// Uploads go out: [Uploads.AppendOwn] appends a version that was made here, on the known head or not at all, together with its
// [Upload]. Whoever publishes reads [Uploads.Uploads], stores what the object stores lack, announces ([Uploads.Announced] moves
// the announced head) and removes the upload ([Uploads.Uploaded]). What the stores or the bus lost is recorded again
// ([Uploads.AddUpload]).
//
// # Crashes
//
// What a method returned is on disk, synced, except [JobPublished], whose loss costs a message. A process may die at any point:
// a stretch too long for one transaction is written oldest first, each transaction holding versions, the head and the tips that
// belong to them, and a job for the newest. Every prefix is a valid log, and nothing needs to be rolled back at the next start.
//
// A log that cannot be read as it was written is [ErrDamaged] rather than guessed at: [SetAside] moves it out of the way, and
// the caller rebuilds it from the manifests.
//
// # Where things are
//
// [Badger] is the log on disk, [Memory] the one for tests. Package logtest holds the tests and the benchmarks that every store
// passes. keys.go shows the layout of the rows, commit.go how many goroutines share a synced transaction, guards.go what is
// looked at before a directory is trusted, convert.go how a log of an older schema becomes one of ours.
package logstore
