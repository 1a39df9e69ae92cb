package jetstream

import (
	"cmp"
	"time"

	"headwater/bucket"
	"headwater/consumer"

	natsjs "github.com/nats-io/nats.go/jetstream"
)

// Settings of what is made on the server that no configuration decides.
const (
	// DefaultAckWait is the lease of a delivery.
	DefaultAckWait = 30 * time.Second
	// maxAckPending bounds the deliveries of one durable that wait for an answer, those given back for later
	// included: as many buckets can be in trouble before the others have to wait.
	maxAckPending = 1000

	// headsWindow lets an announcement be sent again after a lost answer. It is no longer than that takes: announcing the same
	// head once more is how a person has peers try again what they set aside.
	headsWindow = 10 * time.Second
	// pinsWindow lets a peer publish its recorded jobs again after a crash, the time to be restarted elsewhere included,
	// without starting one twice. An id costs about 180 bytes of the server's memory for so long.
	pinsWindow = 15 * time.Minute
	// deadWindow: a message that could not be terminated comes back after its lease, and must not leave a second letter.
	deadWindow = time.Hour
	deadMaxAge = 30 * 24 * time.Hour
)

// metadataKey marks what Headwater made; the value is the prefix.
const metadataKey = "headwater-prefix"

// EnsureConfig says what the broker must hold.
type EnsureConfig struct {
	// Peer is whose durables are wanted. Zero: none, as for a command that only writes.
	Peer bucket.PublicKey
	// Replicas of each stream and object store that is made. 0: 1.
	Replicas int
	// BindOnly: make nothing, and fail if something is missing.
	BindOnly bool
	// AckWait is the lease of a delivery. 0: DefaultAckWait.
	AckWait time.Duration
}

// assets are what an EnsureConfig asks for.
type assets struct {
	streams  []natsjs.StreamConfig
	durables []durable
}

// durable is a durable together with the stream it is on.
type durable struct {
	stream string
	config natsjs.ConsumerConfig
}

func (n Names) assets(cfg EnsureConfig) assets {
	a := assets{streams: []natsjs.StreamConfig{n.headsConfig(), n.pinsConfig(), n.deadConfig(),
		n.storeConfig(n.ManifestStore(), "manifests"), n.storeConfig(n.BlobStore(), "blobs")}}
	for i := range a.streams {
		a.streams[i].Replicas = max(cfg.Replicas, 1)
		a.streams[i].Storage = natsjs.FileStorage
		a.streams[i].Metadata = n.metadata()
		a.streams[i].MaxMsgs, a.streams[i].MaxBytes, a.streams[i].MaxConsumers = -1, -1, -1
	}
	if !cfg.Peer.IsZero() {
		a.durables = []durable{n.durable(consumer.KindHeads, cfg), n.durable(consumer.KindPins, cfg)}
	}
	return a
}

func (n Names) metadata() map[string]string { return map[string]string{metadataKey: n.prefix()} }

func (n Names) headsConfig() natsjs.StreamConfig {
	return natsjs.StreamConfig{
		Name: n.HeadsStream(), Subjects: []string{n.AllHeads()},
		Description: "Headwater: announced heads, the newest of each peer and bucket",
		Retention:   natsjs.LimitsPolicy, MaxMsgsPerSubject: 1, AllowDirect: true, Duplicates: headsWindow,
	}
}

// pinsConfig has no limit per subject, although a newer job mostly makes an older one of the same peer and bucket needless:
// a peer that wants all versions shares the stream, and none of its jobs may be dropped.
func (n Names) pinsConfig() natsjs.StreamConfig {
	return natsjs.StreamConfig{
		Name: n.PinsStream(), Subjects: []string{n.AllPins()},
		Description: "Headwater: pins to download, a work queue for each peer",
		Retention:   natsjs.WorkQueuePolicy, MaxMsgsPerSubject: -1, Duplicates: pinsWindow,
	}
}

func (n Names) deadConfig() natsjs.StreamConfig {
	return natsjs.StreamConfig{
		Name: n.DeadStream(), Subjects: []string{n.DeadOf(bucket.PublicKey{}, "", bucket.ID{})},
		Description: "Headwater: messages set aside, each with its reason",
		Retention:   natsjs.LimitsPolicy, MaxMsgsPerSubject: -1, AllowDirect: true, Duplicates: deadWindow, MaxAge: deadMaxAge,
	}
}

// storeConfig is what every NATS client makes of an object store, except that it allows batches. Servers before 2.12 do not
// know them, and ignore that or refuse it: see [Client.createStream].
func (n Names) storeConfig(name, what string) natsjs.StreamConfig {
	s := Store{Name: name}
	return natsjs.StreamConfig{
		Name: s.stream(), Subjects: []string{s.chunks(">"), "$O." + name + ".M.>"},
		Description: "Headwater: " + what + " by their hash",
		Retention:   natsjs.LimitsPolicy, MaxMsgsPerSubject: -1, Discard: natsjs.DiscardNew, AllowRollup: true, AllowDirect: true,
		AllowAtomicPublish: true,
	}
}

// storeOf is the object store behind a stream's configuration, or "".
func storeOf(cfg natsjs.StreamConfig) string {
	if len(cfg.Name) > 4 && cfg.Name[:4] == "OBJ_" {
		return cfg.Name[4:]
	}
	return ""
}

func (n Names) durable(k consumer.Kind, cfg EnsureConfig) durable {
	filter := n.AllHeads()
	if k == consumer.KindPins {
		filter = n.PinsOf(cfg.Peer)
	}
	return durable{n.StreamOf(k), natsjs.ConsumerConfig{
		Durable: n.Durable(k, cfg.Peer), Description: "Headwater: " + string(k) + " for a peer", FilterSubject: filter,
		DeliverPolicy: natsjs.DeliverAllPolicy, AckPolicy: natsjs.AckExplicitPolicy, MaxDeliver: -1,
		AckWait: cmp.Or(cfg.AckWait, DefaultAckWait), MaxAckPending: maxAckPending, Metadata: n.metadata(),
	}}
}
