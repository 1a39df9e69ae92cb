// Package natstest runs real NATS servers inside a test or benchmark: nothing is mocked, nothing outside the process is
// needed, and everything is gone when the test ends.
//
// A [Server] is one server with JetStream on a loopback port, its streams in files under the test's temporary directory.
// It can be stopped and started again on the same port and files, so a client sees what it would see when a broker goes
// away and comes back. A [Cluster] is several servers that replicate streams among themselves, each of which can be
// stopped and started alone. A [CLI] is the nats command line program, run against any of them, so that a test shows what
// a person at a terminal gets. A [Proxy] stands between a client and a server and adds latency.
//
// Everything takes the test or benchmark it belongs to, fails it if something does not come up, and registers its own
// clean-up. Close connections of your own first, or hand the closing to the test's Cleanup after the server was started:
// clean-ups run last in, first out.
//
// Servers here are for the goroutine that runs the test: unless a method says otherwise, call it from there only. URLs do
// not change over a server's life and can be read from anywhere.
package natstest
