package logstore_test

import (
	"testing"

	"headwater/logstore"
	"headwater/logstore/logtest"
)

func TestMemoryKeepsTheContract(t *testing.T) {
	logtest.Run(t, func(testing.TB) logtest.Opened { return logtest.Opened{Store: logstore.NewMemory()} })
}
