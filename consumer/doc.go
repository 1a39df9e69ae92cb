// Package consumer turns announcements and pin jobs into durable local state. It knows no broker: deliveries come through
// [Source], objects through [Objects], and what it has to say goes out through [Jobs], [DeadLetters] and [Events]. Without
// deliveries it serves the program that holds the peer's directory: [Consumer.Look] at announced heads, [Consumer.AppendOwn] for
// versions made here, [Consumer.Status].
//
// Data flows one way:
//
//	announcement → catch-up → verify → append → job → download → complete
//
// An announcement is decoded and compared with its subject; a link that the log has is a duplicate, and nothing is fetched. For
// a new one, package chain finds, fetches and verifies what the log lacks, and yields it oldest first. Each batch is appended
// here, and nowhere else: its manifests durable, then the log entries together with the pin job, in one step. The job is
// published as a message, and only then is the announcement acknowledged. A pin worker takes the job from the broker, fetches what
// it does not hold, marks the version complete, and acknowledges.
//
// What this promises:
//
//   - Two announcements of one bucket are never worked on at the same time, whether delivered or looked at, nor are two of its pin
//     jobs; those of different buckets are.
//   - A message is acknowledged after its effect is synced to disk. A process that dies in between is delivered the message
//     again, and finds the effect done. Until then the lease of everything taken is extended.
//   - A job that was recorded has been published, or will be: when the catch-up ends, however it ends; when the process starts
//     again; and, if the broker lost it or could not be reached, when jobs are next compared with its queue.
//   - An error becomes an outcome in one place: done, later, or never.
//   - [Consumer.Run] returns when its workers are gone; what it held and had not finished is given back, not left to wait
//     for a lease to run out.
//
// [Rebuild] makes a log anew from the manifests that were kept, since they hold all that it knows.
package consumer
