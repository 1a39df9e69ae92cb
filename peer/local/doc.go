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
// HTTP/1.1 over the socket, with bodies of JSON; curl --unix-socket works against it. GET /hello names the version of the protocol
// ([Protocol]) and the holder, and a client leaves if the version is another one. All other paths begin with the version.
//
//	GET  /hello
//	GET  /v1/blobs/HASH       the blob; its size is in a header, and why it ends early in a trailer
//	GET  /v1/blobs/HASH?file  the same, or of a large blob the name of the holder's file, in a header
//	PUT  /v1/blobs/HASH
//	PUT  /v1/blobs            small ones together
//	POST /v1/blobs            answered with the hash
//	GET  /v1/manifests/LINK
//	POST /v1/manifests        a version that was made
//	POST /v1/CALL             all others, with an argument; await and watch are answered with a line for each event
//
// A call that fails is answered with status 500: the text, and which sentinels and refusal the error holds. A body of more than
// 128 KiB waits until the holder reads it (Expect: 100-continue), which it never does for a blob that it has.
//
// A connection carries one call at a time, and a client has several connections. So flow control is the kernel's, and closing its
// connection cancels a call: the other end notices, and ends the call too.
package local
