// Package peer is a whole Headwater peer for other programs: it keeps versioned, encrypted buckets of files in sync with other
// peers over NATS JetStream. The headwater command is made of it.
//
//	p, err := peer.Open(ctx, peer.Config{Dir: dir, NATS: jetstream.Config{URL: "nats://127.0.0.1:4222"}})
//	if err != nil { ... }
//	defer p.Close(ctx)
//	go p.Run(ctx, nil) // hear of others' versions, download them, upload ours
//	made, err := p.Create(ctx, "photos", peer.Upload{})
//	_, err = p.Commit(ctx, made.BucketID, "/home/me/Pictures", peer.CommitOptions{})
//
// # The peer's own log and blobs are the truth
//
// A peer has a directory: its identity, its log of verified versions, their manifests, and the blobs that they need. What is held
// there can be read, and new versions can be made, without any broker. A version that is made here is durable here before
// anything else happens; in the same step the log notes that it is owed to the broker. It is uploaded and announced as soon as
// the broker answers, by whoever holds the directory then.
//
// # Who holds the directory
//
// One process at a time holds a directory: [Open] takes it, and [Peer.Close] gives it free. Whoever holds it lets other processes
// of the same user work on it, over a socket in the directory (package local). [Use] works on a directory whoever holds it: it
// speaks with the holder, or, if there is none, opens the directory itself for as long as the session lasts. A running peer that
// starts meanwhile takes over at the session's next durable point, and the session goes on through it.
//
// A [Session] is what both have: Create, Commit, Checkout, List, Read, Diff, Share, Unshare, Publish, Merge, Announce, Log,
// Status, Watch. A [Peer] is a Session, and what runs behind it.
//
// # The directory
//
//	identity.pem    the peer's Ed25519 key, readable by its owner alone
//	format          number of the directory's format
//	lock            who holds the directory
//	control/        the socket
//	broker.json     how the last run reached the broker, without credentials
//	told            when the stream was made that was told of this peer's heads
//	log/            the log (package logstore)
//	rebuild         is there while the log is made anew
//	manifests/      manifests of the versions in the log (package blobstore)
//	blobs/          blobs that they need
//	stage/          catch-ups under way; stage-visits/ those of buckets that are not shared with this peer
//	worktrees/      what directories of the user had in common with their buckets (package worktree)
//	commits/        what commits under way are about to make of these
package peer
