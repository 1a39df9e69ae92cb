package peer_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"headwater/jetstream"
	"headwater/peer"
)

func TestThatTheBrokerDoesNotAnswerIsSaidOnce(t *testing.T) {
	err := peer.Offline(fmt.Errorf("upload: %w", peer.Offline(fmt.Errorf("put: %w", jetstream.ErrUnreachable))))
	if !errors.Is(err, peer.ErrOffline) || strings.Count(err.Error(), peer.ErrOffline.Error()) != 1 {
		t.Errorf("got %v", err)
	}
}
