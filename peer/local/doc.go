// Package local lets other processes of the same user work with a peer's directory that one process holds.
//
// A peer's directory is open in one process at a time: the running peer, or a command while none runs. That process is the
// [Holder]. Whoever else works on the directory speaks with it over a socket in the directory, which only its owner can open.
// A holder in the same process and one behind the socket are the same interface, and pass the same suite (package localtest).
//
// What crosses the socket are versions, bytes by their hash, and how things stand. The user's files do not: a command reads and
// writes them with the user's own rights.
package local
