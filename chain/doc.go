// Package chain gets from an announced head down to the log. It is the only code that follows hints and walks a chain, and it
// appends nothing: whoever calls it does.
//
// A peer that is behind knows one link, the announced head. A version names its predecessor, so a chain can be followed from
// the newest version down only. Who may write a version stands in the version before it, so it can be verified from the oldest
// up only. [Engine.CatchUp] therefore goes from both ends:
//
//   - up: what the hints of an announcement name is fetched oldest first, many objects at a time, decoded and its signatures
//     checked on all processors, and verified, if it follows on the log or begins with a genesis.
//   - down: a walk goes from the head, which is all that was announced, until it meets the log, what came from below, or a
//     genesis. It fetches what is not at hand, many objects at a time if hints name them. The walk alone decides what belongs to
//     the head; so a hint that lies costs what it made us fetch, and no more.
//
// What is missing comes out oldest first, in batches, each version verified against its direct predecessor. Of a stretch that
// breaks a rule anywhere nothing does, with one exception: of a bucket that is in the log already, a long stretch that hints lead
// to comes out as it is fetched. It follows on the log by its owners' signatures, whatever becomes of the head.
//
// What is under way is kept in runs. A run is a contiguous piece of a chain, in memory as long as it is short and in a file
// after that: verified and growing upwards, or walked and growing downwards. A catch-up that ends before its time leaves its
// runs in files, however short they are, and the next one of the bucket goes on from them, be it with another head. One that is
// refused removes what it made itself, and walks of others through what was refused. All files together have a limit.
//
// Memory does not grow with the length of a chain. All catch-ups together hold [Config.Memory] bytes of versions, counted as they
// are and not as they were told, plus a small floor for each of them, so that none waits for another. Decoding and checking of long
// stretches leaves half of the processors, for half of the time, to whatever else is to be verified.
//
// Everything from an object store is hashed against its link before a decoder sees it. What the answers of several stores
// mean is decided in one place, [Fetcher], which others use too.
package chain
