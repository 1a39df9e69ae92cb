package peer

import "headwater/peer/local"

// Holder returns what the session asks.
func (s *Session) Holder() local.Holder { return s.holder }
