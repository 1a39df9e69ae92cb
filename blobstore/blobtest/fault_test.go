package blobtest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"headwater/blobstore"
	"headwater/blobstore/blobtest"
	"headwater/bucket"
)

func TestFaultyFailsAsTold(t *testing.T) {
	memory := &blobstore.Memory{}
	f := blobtest.NewFaulty(memory)
	a, b := blobtest.Bytes(1, 100), blobtest.Bytes(2, 100)
	ha, hb := bucket.Sum(a), bucket.Sum(b)
	own := errors.New("own")
	put := func(data []byte) error {
		_, err := f.Put(t.Context(), bucket.Sum(data), bytes.NewReader(data))
		return err
	}

	f.Inject(blobtest.Fault{Op: blobtest.OpPut, Hash: ha, Times: 1})
	f.Inject(blobtest.Fault{Op: blobtest.OpPut, Hash: hb, Mode: blobtest.FailAfter, Err: own, After: 1, Times: 1})
	for i, step := range []struct {
		data []byte
		want error
		held bool
	}{
		{a, blobtest.ErrInjected, false}, {a, nil, true}, {b, nil, true}, {b, own, true}, {b, nil, true},
	} {
		if err := put(step.data); !errors.Is(err, step.want) {
			t.Fatalf("put %d: got %v, want %v", i, err, step.want)
		}
		if ok, _ := memory.Has(t.Context(), bucket.Sum(step.data)); ok != step.held {
			t.Fatalf("put %d: held behind: got %v, want %v", i, ok, step.held)
		}
	}
	if got := f.Calls(blobtest.OpPut); got != 5 {
		t.Errorf("calls: got %d, want 5", got)
	}

	f.Inject(blobtest.Fault{Op: blobtest.OpGet, Mode: blobtest.FailAfter})
	blob, err := f.Get(t.Context(), ha)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(blob); !errors.Is(err, blobtest.ErrInjected) || len(got) != 50 {
		t.Errorf("read a blob that fails half-way: got %d bytes, %v", len(got), err)
	}
	f.Heal()
	if _, err := blobstore.ReadAll(t.Context(), f, ha, 100); err != nil {
		t.Errorf("read after healing: %v", err)
	}

	f.Inject(blobtest.Fault{Op: blobtest.OpList, Mode: blobtest.FailAfter})
	n, last := 0, error(nil)
	for _, err := range f.All(t.Context()) {
		n, last = n+1, err
	}
	if n != 3 || !errors.Is(last, blobtest.ErrInjected) {
		t.Errorf("list that fails at its end: got %d steps, last %v", n, last)
	}
}

func TestFaultyStallsUntilReleasedOrCancelled(t *testing.T) {
	f := blobtest.NewFaulty(&blobstore.Memory{})
	f.Inject(blobtest.Fault{Op: blobtest.OpHas, Mode: blobtest.Stall})
	done := make(chan error, 1)
	has := func(ctx context.Context) {
		_, err := f.Has(ctx, bucket.Hash{})
		done <- err
	}
	go has(t.Context())
	<-f.Stalled()
	f.Release()
	if err := <-done; err != nil {
		t.Errorf("released: got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go has(ctx)
	<-f.Stalled()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v, want %v", err, context.Canceled)
	}
}
