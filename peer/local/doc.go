// Package local lets other processes of the same user work with a peer's directory that one process holds.
//
// A peer's directory is open in one process at a time: the running peer, or a command while none runs. That process is the
// [Holder]. Whoever else works on the directory speaks with it over a socket in the directory, which only its owner can open:
// the holder calls [Listen] and [Serve], the others [Dial]. A holder in the same process and one behind the socket are the same
// interface, and pass the same suite (package localtest).
//
// What crosses the socket are versions, bytes by their hash, and how things stand. The user's files do not: a command reads and
// writes them with the user's own rights.
//
// # The wire
//
// Both ends begin with a hello that names the version of the protocol ([Protocol]) and leave if the other's is a different one.
// Then a connection carries one call at a time, and a client has several connections. So flow control is the kernel's, and
// to cancel a call is to close its connection: the other end notices, and ends the call too.
//
// A frame is the length of its payload (4 bytes, big endian), its type (1 byte), and the payload. Each type has a limit.
//
//	hello    both ends, first     JSON; its shape never changes
//	request  client               JSON; may name the size of a body
//	ready    holder               the body is wanted, or, for a watch, no event is missed any more
//	data     both                 a piece of a body; the body has ended with its last byte
//	event    holder               JSON: progress, or an event of the peer
//	answer   holder               JSON; may name the size of a body
//	error    holder               JSON: the text, and which sentinels and refusal the error holds
//	bye      holder               the directory is being given up; a request that is not answered was not begun
//
// A small body follows on its request at once. A large one waits until the holder is ready for it, which it never is for a blob
// that it has.
package local
