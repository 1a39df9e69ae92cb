package peer

import "headwater/peer/local"

// SetFree makes a peer take a disk for as full as free says.
func (c *Config) SetFree(free func(dir string) (uint64, error)) { c.free = free }

// Offline is offline.
func Offline(err error) error { return offline(err) }

// Holder returns what the session asks.
func (s *Session) Holder() local.Holder { return s.holder }
