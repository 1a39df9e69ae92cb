// Package author makes new versions of buckets, and finds the newest version to make them on. It is what a command needs
// that reads or writes a bucket without a log of its own: it takes nothing from the broker on trust, and knows it only by
// two ports, [Bus] and [Manifests].
//
// # Finding the head
//
// [Author.Heads] starts from what is announced, which proves nothing. Each announced head is walked back, newest first, and
// each version on the way is checked against its direct predecessor by [bucket.Rules]. That is as good as oldest first: a
// head counts only once its walk has reached a version that is known to be sound, which is the newest head that this author
// has verified before, another chain that gets there, or the bucket's genesis. All walks go on side by side, always the
// highest one first, so that each version is fetched once, and where two walks meet is their newest common ancestor. What
// cannot be verified is ignored with its reason, and holds up no other head; what can never become right is remembered, so
// that it costs one look the next time.
//
// The hints that come with an announcement, its manifest and where the versions below it are, make a walk fast: what they
// name is fetched just ahead of it, many objects with one request, and signatures are checked on all processors. They prove
// as little as the announcement, and save nothing but time: the walk judges all that it comes to, and fetches by itself what
// they do not yield. In memory stand one version per head, and the windows of versions that the walks are in.
//
// The head is the greatest of the verified ones by the head rule. Every other verified tip is either an ancestor of it, or
// merged, or a [Fork]. A fork is merged once the manifests of its versions, down to where it began, stand in the pins list
// of a version: that is how everybody sees it, and makes every peer hold the manifests of both sides. A version keeps in its
// own list what its predecessor holds as merged, as far as its author knows it as a head that was announced.
//
// # State
//
// [State] is what an author has verified before: a bucket's genesis, its newest head with its octets, and the other tips. It
// never goes back: an older head, announced by a broker restored from a backup, changes nothing. It is also the anchor of
// trust. A bucket's id says nothing about who made it, so first contact trusts the genesis that it meets: the one that a
// hint leads to, where a hint is given, else of a chain whose newest version has a share for our key, else of the greatest
// head. From then on a chain that begins with another genesis is [ErrDiverged].
//
// # Making a version
//
// [Author.Next] makes the version after the newest one: a new secret, wrapped anew for every owner, the tree built with that
// secret at its root, the operation log, the pins list, and the signed manifest. The order is the promise: blobs, pins list,
// manifest, State, announcement, each durable before the next. Whoever dies between two of them leaves blobs that nobody
// names, or a version that nobody else has heard of, which the next Heads announces. Two commands of one author are kept apart
// by a lock: the second one to finish gets [ErrStale] and leaves no fork. Two authors on two machines may well make a fork;
// both then see it.
package author
