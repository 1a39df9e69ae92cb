package local

import "encoding/json"

// Names for the external tests.
const (
	ChunkSize = chunkSize
	MaxPath   = maxPath
)

// SocketPath is where the socket of a directory is.
func SocketPath(dir string) (string, error) { return socketPath(dir) }

// Hello returns a hello of another version.
func Hello(protocol int, info Info) []byte {
	b, err := json.Marshal(hello{Protocol: protocol, Info: info})
	if err != nil {
		panic(err)
	}
	return b
}

// AcrossTheWire returns an error as the other end gets it.
func AcrossTheWire(err error) (error, error) {
	b, err := json.Marshal(toWire(err))
	if err != nil {
		return nil, err
	}
	var w wireError
	err = json.Unmarshal(b, &w)
	return w.err(), err
}

// Sentinels are the errors that stay themselves.
func Sentinels() []error {
	var all []error
	for _, s := range sentinels {
		all = append(all, s.err)
	}
	return all
}
