// Package chain gets from an announced head down to the log. It is the only code that follows hints and walks a chain, and it
// appends nothing: its caller does.
//
// A peer that is behind knows one link, the announced head. A version names its predecessor, so a chain can be followed from
// the newest version down only. Who may write a version stands in the version before it, so it can be verified from the oldest
// up only. [Engine.CatchUp] therefore goes from both ends:
//
//   - up: what the hints of an announcement name is fetched oldest first, many objects at a time. It is decoded, and its signatures
//     are checked, on all processors; it is verified if it follows on the log or begins with a genesis.
//   - down: a walk goes from the head, which is all that was announced, until it meets the log, what came from below, or a
//     genesis. It fetches what is not at hand, many objects at a time if hints name them. The walk alone decides what belongs to
//     the head; so a false hint costs what it made us fetch, and no more.
//
// What is missing comes out oldest first, in batches, each version verified against its direct predecessor. If the stretch breaks
// a rule anywhere, nothing comes out, with one exception: if the bucket is in the log already, a long stretch that hints lead to
// comes out as it is fetched. Its owners' signatures prove that it follows on the log, whatever becomes of the head.
//
// What is under way is kept in runs. A run is a contiguous piece of a chain, in memory as long as it is short and in a file
// after that: verified and growing upwards, or walked and growing downwards. A catch-up that is interrupted leaves its runs of
// two or more versions in files, and the next one of the bucket goes on from them, even with another head. If the chain is
// refused, the catch-up removes the runs that it made itself, and walks of earlier ones through what was refused. All files
// together have a limit.
//
// Memory does not grow with the length of a chain. All catch-ups together hold [Config.Memory] bytes of versions, counted by their
// real size and not as told, plus a small floor for each of them, so that none waits for another. Decoding and checking of long
// stretches leaves half of the processors, for half of the time, to all other verification.
//
// Everything from an object store is hashed against its link before a decoder sees it. What the answers of several stores
// mean is decided in one place, [Fetcher], which others use too.
package chain
