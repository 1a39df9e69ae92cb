// Command headwater keeps versioned, encrypted buckets in sync between peers over NATS JetStream.
//
// Each command is a file: a constructor that binds its flags, and a function that does the work with what it is given. What all
// have in common is in app.go; settings.go says where settings come from; exit.go turns errors into exit codes, alone. The
// peer itself is put together in peer.go, and answers questions with service.go.
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
	code := a.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}
