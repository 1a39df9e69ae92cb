// Command headwater keeps versioned, encrypted buckets in sync between peers over NATS JetStream.
//
// Each command is a file: a constructor that binds its flags, and a function that runs it with their values. What all commands
// share is in app.go; settings.go says where settings come from; only exit.go turns errors into exit codes. The work itself is
// done by package peer.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	a := newApp(os.Stdin, os.Stdout, os.Stderr, os.LookupEnv)
	context.AfterFunc(ctx, stop) // the first signal ends the command, the second the process
	os.Exit(a.run(ctx, os.Args[1:]))
}
