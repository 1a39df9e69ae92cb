// Package jetstream carries Headwater over NATS: it is the only production package that knows the broker, and implements
// the ports of package consumer on it. Nothing of the NATS client shows in its exported API, except a
// connection that a program has already and hands in ([Config]).
//
// # The model
//
// A [Client] is one connection and everything that is said over it. [Names] builds and parses every subject, stream,
// durable and object store name. [Client.Ensure] makes what the broker must hold, once, and never changes what it finds: it
// names the differences and the command that would mend each.
//
//   - announcements, one for each peer and bucket: a newer head replaces an older one that nobody read yet
//     ([Client.Announce], [Client.Heads])
//   - pin jobs, a work queue for each peer: a job is gone when it is acknowledged ([Jobs])
//   - dead letters, messages set aside for a person, for 30 days ([DeadLetters], [Client.Letters])
//   - object stores, bytes by the hex of their BLAKE3 hash, in the layout of the nats command ([Objects],
//     [Client.PutObject])
//   - events, told once, to whoever listens at that moment ([Events], [Client.Watch])
//   - questions to a running peer, and its answers ([Client.Ask], [Client.Serve])
//
// A [Source] yields deliveries of a peer's durable. It holds no more of them than are being worked on, and survives
// reconnects, leader changes and the deletion of its durable.
//
// # What the broker's word is worth
//
// Nothing. What is read is bounded before it is kept, and proves nothing until its hash does. An acknowledged publish is
// stored as safely as the stream is configured to be, which by default does not include a power cut. An object that was
// announced may not be visible yet when a replica answers: [Objects.Get] can ask the leader instead.
//
// # Failure
//
// Every request has a deadline of its own, [DefaultRequestLimit] unless configured, beside that of its context. A request
// that the server forbids fails at once with [ErrNotPermitted], although NATS reports it to nobody in particular; one that
// was under way when the connection broke fails at once with [ErrUnreachable]. Neither is retried here unless a
// comment says so: the callers have the better reasons and the longer breath.
//
// A Client and all it hands out are safe for concurrent use, unless a comment says otherwise.
package jetstream
