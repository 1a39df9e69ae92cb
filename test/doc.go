// Package test holds the tests of the whole system: peers, their stores and real NATS servers, of one node and of three,
// in one process. Nothing here is production code, and nothing imports it.
//
// What is tested is what Headwater promises. A test of a promise bears its name, so that one of them can be run with
//
//	make test T=TestPrefix PKG=./test
//
// Servers come from the package natstest, which also runs the nats command line program: what that program publishes and
// stores must be as good as what Headwater writes itself. The program is built by make, at a pinned version, and a test
// that needs it fails if it is missing.
//
// The tests named TestImports hold the packages to their directions: which may import which, and which alone may know the
// broker, its server and the database.
package test
