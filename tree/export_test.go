package tree

// What the vectors give away and production code draws at random, or does not show.
var (
	SealWith   = sealWith
	WrapWith   = wrapWith
	WrapKey    = wrapKey
	UnwrapKey  = unwrapKey
	SharedKey  = sharedKey
	Scalar     = scalar
	Montgomery = montgomery
)

// What the limits on counts rest on.
const (
	MinEntrySize     = minEntrySize
	MinOpSize        = minOpSize
	MaxMetadataDepth = maxDepth
)
