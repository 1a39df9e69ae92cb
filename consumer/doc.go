// Package consumer turns announcements and pin jobs into durable local state. It knows no broker: deliveries come through
// [Source], objects through [Objects], and what it has to say goes out through [Jobs], [DeadLetters] and [Events].
//
// Data flows one way:
//
//	announcement → catch-up → verify → append → job → download → complete
//
// An announcement is decoded and compared with its subject; a link that the log has is a duplicate, and nothing is fetched. For
// a new one, what its hints name and the log lacks is fetched ahead, oldest first and many objects at a time (route), while
// signatures are checked on all processors. A walk from the head down to the log decides what belongs to the missing stretch,
// and fetches by itself what is not at hand; every octet is hashed against its link before a decoder sees it. The stretch is
// then verified oldest first, each version against its direct predecessor, and appended in batches: manifests durable,
// then log entries together with the pin job, in one step. The
// job is published as a message, and only then is the announcement acknowledged. A pin worker takes the job from the
// broker, fetches what it does not hold, marks the version complete, and acknowledges.
//
// What this promises, and where it is kept:
//
//   - Two announcements of one bucket are never worked on at the same time, nor two of its pin jobs; those of different
//     buckets are (lanes).
//   - A message is acknowledged after its effect is synced to disk. A process that dies in between is delivered the message
//     again, and finds the effect done.
//   - A job that was recorded and not published is published when the process comes back, and one that the broker lost is
//     published again (outbox).
//   - An error becomes an outcome in one place (outcome.go): done, later, or never.
//   - [Consumer.Run] returns when its workers are gone; what it held and had not finished is given back, not left to wait
//     for a lease to run out.
//   - Memory does not grow with the length of a chain: long stretches wait on disk (stage), verified where hints brought
//     them (spool), and an interrupted catch-up goes on behind what is there.
//   - A long catch-up does not hold up short work (pace), and tells how far it is (progress).
//
// [Rebuild] makes a log anew from the manifests that were kept, since they hold all that it knows.
package consumer
