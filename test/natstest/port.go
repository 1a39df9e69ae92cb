package natstest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

const loopback = "127.0.0.1"

// Ports are taken from below the range that systems hand out to outgoing connections and to listeners on port 0, so that a
// stopped server finds its port still free when it is started again.
const (
	firstPort = 20000
	lastPort  = 32000
)

// freePort returns a port that nobody listens on at this moment.
func freePort() int {
	for {
		port := firstPort + rand.IntN(lastPort-firstPort)
		l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", loopback, port))
		if err == nil {
			_ = l.Close()
			return port
		}
	}
}

// retryPorts calls start again, with ports chosen anew, when another process took one of them between our look and our use.
func retryPorts(start func() error) (err error) {
	for range 3 {
		if err = start(); !errors.Is(err, errNotReady) {
			return err
		}
	}
	return err
}
