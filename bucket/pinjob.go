package bucket

// PinJob asks a peer to download the pins of one version. It is a hint: the worker takes the pins list from the verified
// manifest, never from the message.
type PinJob struct {
	Bucket ID
	Link   Link // of the manifest
	Height uint64
	Pins   Link        // of the pins list
	Stores []string    // object stores to ask first, each "name" or "domain/name"
	Peers  []PublicKey // identities in the manifest's shares
}

// Head returns the version whose pins are meant.
func (j PinJob) Head() Head { return Head{Link: j.Link, Height: j.Height} }
