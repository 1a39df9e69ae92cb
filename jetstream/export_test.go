package jetstream

// Sent counts the messages that the client has sent.
func (c *Client) Sent() uint64 { return c.nc.Stats().OutMsgs }
