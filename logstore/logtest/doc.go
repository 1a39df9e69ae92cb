// Package logtest checks and measures implementations of [logstore.Store]. [Run] is the contract as tests: a store that passes
// it keeps what package logstore promises, as far as one process can see. What a store does when its process is killed or its
// files are damaged is tested beside that store. [Bench] is its twin: every store is measured alike.
//
//	func TestStore(t *testing.T) {
//		logtest.Run(t, func(tb testing.TB) logtest.Opened { return logtest.Opened{Store: logstore.NewMemory()} })
//	}
package logtest
