package consumer

// HoldNear makes the consumer hold at most n versions in memory ahead of the walk, so that a test needs no more.
func (c *Consumer) HoldNear(n int) { c.nearVersions = n }
