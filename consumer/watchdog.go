package consumer

import (
	"io"
	"sync/atomic"
	"time"
)

// watchdog ends a transfer that stands still: it calls its function once nothing has been read for a while.
type watchdog struct {
	patience time.Duration
	timer    *time.Timer
	bitten   atomic.Bool
}

func newWatchdog(patience time.Duration, bite func()) *watchdog {
	w := &watchdog{patience: patience}
	w.timer = time.AfterFunc(patience, func() {
		w.bitten.Store(true)
		bite()
	})
	return w
}

func (w *watchdog) stop()     { w.timer.Stop() }
func (w *watchdog) calm()     { w.timer.Reset(w.patience) }
func (w *watchdog) bit() bool { return w.bitten.Load() }

// reader returns a reader of r whose every Read that brings something calms the dog.
func (w *watchdog) reader(r io.Reader) io.Reader { return &watchedReader{r, w} }

type watchedReader struct {
	r io.Reader
	w *watchdog
}

func (r *watchedReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if n > 0 {
		r.w.calm()
	}
	return n, err
}
