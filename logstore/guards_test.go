package logstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"headwater/bucket"
	"headwater/logstore"
)

// small opens a small log in dir; the test closes it.
func small(t *testing.T, dir string) *logstore.Badger {
	t.Helper()
	s, err := logstore.OpenSmall(logstore.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ok fails the test.
func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("got error %v", err)
	}
}

// filledTo is the height of the buckets in a filled log.
const filledTo = 1999

// filled makes a log with tables, closed or killed.
func filled(t *testing.T, end func(*logstore.Badger) error) (dir string) {
	t.Helper()
	dir = t.TempDir() + "/log"
	s := small(t, dir)
	for n := range 3 {
		stretch := versions(n, 0, filledTo+1)
		_, err := s.Append(t.Context(), stretch, jobFor(stretch[filledTo]), true)
		ok(t, err)
	}
	ok(t, end(s))
	return dir
}

// oneOf returns a file whose name ends so.
func oneOf(t *testing.T, dir, suffix string) string {
	t.Helper()
	files, err := filepath.Glob(dir + "/*" + suffix)
	if err != nil || len(files) == 0 {
		t.Fatalf("got %v, %v, want a file *%s", files, err, suffix)
	}
	return files[0]
}

// change rewrites a file.
func change(t *testing.T, path string, f func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	ok(t, err)
	ok(t, os.WriteFile(path, f(b), 0o600))
}

// wantOpen expects what opening the log, twice, returns.
func wantOpen(t *testing.T, dir string, want error) {
	t.Helper()
	for range 2 { // the first refusal must not make the second one accept
		s, err := logstore.OpenSmall(logstore.Config{Dir: dir})
		if !errors.Is(err, want) {
			t.Fatalf("got error %v, want %v", err, want)
		}
		if err != nil {
			t.Log(err)
			continue
		}
		b, err := s.Bucket(t.Context(), version(2, 0).Bucket)
		if err != nil || b.Known != version(2, filledTo).Head() {
			t.Errorf("got %v, %v, want the head as it was", b, err)
		}
		ok(t, s.Close())
	}
}

func closed(s *logstore.Badger) error { return s.Close() }
func killed(s *logstore.Badger) error { return s.Kill() }

func TestDamageIsFoundWhenTheLogIsOpened(t *testing.T) {
	flip := func(at func(size int) int) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			change(t, oneOf(t, dir, ".sst"), func(b []byte) []byte { b[at(len(b))] ^= 1; return b })
		}
	}
	cut := func(suffix string, n int) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			change(t, oneOf(t, dir, suffix), func(b []byte) []byte { return b[:max(0, len(b)-n)] })
		}
	}
	remove := func(suffix string) func(*testing.T, string) {
		return func(t *testing.T, dir string) { ok(t, os.Remove(oneOf(t, dir, suffix))) }
	}
	for name, test := range map[string]struct {
		end    func(*logstore.Badger) error
		damage func(*testing.T, string)
		want   error
	}{
		"nothing":                        {closed, func(*testing.T, string) {}, nil},
		"nothing but the crash":          {killed, func(*testing.T, string) {}, nil},
		"a bit of a table":               {closed, flip(func(size int) int { return size / 2 }), logstore.ErrDamaged},
		"a bit of a table, crash":        {killed, flip(func(size int) int { return size / 3 }), logstore.ErrDamaged},
		"first bit of a table":           {closed, flip(func(int) int { return 0 }), logstore.ErrDamaged},
		"last bit of a table":            {closed, flip(func(size int) int { return size - 1 }), logstore.ErrDamaged},
		"a bit of a table's checksum":    {closed, flip(func(size int) int { return size - 6 }), logstore.ErrDamaged},
		"a bit of a table's index":       {closed, flip(func(size int) int { return size - 200 }), logstore.ErrDamaged},
		"end of a table":                 {closed, cut(".sst", 1000), logstore.ErrDamaged},
		"one byte of a table":            {closed, cut(".sst", 1), logstore.ErrDamaged},
		"all of a table":                 {closed, cut(".sst", 1<<30), logstore.ErrDamaged},
		"a table":                        {closed, remove(".sst"), logstore.ErrDamaged},
		"end of the MANIFEST":            {closed, cut("MANIFEST", 3), logstore.ErrDamaged},
		"end of the MANIFEST, crash":     {killed, cut("MANIFEST", 3), logstore.ErrDamaged},
		"last record of the MANIFEST":    {closed, cutRecord, logstore.ErrDamaged},
		"all records of the MANIFEST":    {closed, func(t *testing.T, dir string) { keepOf(t, dir, 8) }, logstore.ErrDamaged},
		"all records, crash":             {killed, func(t *testing.T, dir string) { keepOf(t, dir, 8) }, logstore.ErrDamaged},
		"all of the MANIFEST":            {closed, cut("MANIFEST", 1<<30), logstore.ErrDamaged},
		"the MANIFEST":                   {closed, remove("MANIFEST"), logstore.ErrDamaged},
		"the MANIFEST, crash":            {killed, remove("MANIFEST"), logstore.ErrDamaged},
		"empty key registry":             {closed, cut("KEYREGISTRY", 1<<30), logstore.ErrDamaged},
		"garbage for a schema":           {closed, schemaFile("x"), logstore.ErrDamaged},
		"a newer schema":                 {closed, schemaFile("4"), logstore.ErrSchema},
		"a memtable without bytes":       {killed, emptyFile("00077.mem"), nil},
		"a value log without bytes":      {killed, emptyFile("000077.vlog"), nil},
		"the same after a clean closing": {closed, emptyFile("00077.mem"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filled(t, test.end)
			test.damage(t, dir)
			wantOpen(t, dir, test.want)
		})
	}
}

// cutRecord removes the last whole record of the MANIFEST.
func cutRecord(t *testing.T, dir string) {
	change(t, oneOf(t, dir, "MANIFEST"), func(b []byte) []byte {
		at, end := 8, 8
		for ; end < len(b); at, end = end, end+8+int(b[end+2])<<8+int(b[end+3]) {
		}
		return b[:at]
	})
}

// keepOf keeps the first bytes of the MANIFEST.
func keepOf(t *testing.T, dir string, n int) {
	change(t, oneOf(t, dir, "MANIFEST"), func(b []byte) []byte { return b[:n] })
}

func schemaFile(text string) func(*testing.T, string) {
	return func(t *testing.T, dir string) { ok(t, os.WriteFile(dir+"/headwater.schema", []byte(text), 0o600)) }
}

func emptyFile(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) { ok(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600)) }
}

// After a crash the newest part of each chain is walked; rows that are gone there are found.
func TestHolesAreFoundAfterACrash(t *testing.T) {
	id := version(1, 0).Bucket
	entryRow := func(height uint64) []byte {
		return logstore.HeadKey(3, id, version(1, height).Head())
	}
	for name, key := range map[string][]byte{
		"head":         entryRow(filledTo),
		"predecessor":  entryRow(filledTo - 1),
		"further down": entryRow(filledTo - 500),
		"schema":       logstore.SchemaKey(),
	} {
		t.Run(name, func(t *testing.T) {
			dir := filled(t, closed)
			s := small(t, dir)
			ok(t, s.SetRow(key, nil))
			ok(t, s.Kill())
			wantOpen(t, dir, logstore.ErrDamaged)
		})
	}
}

func TestRowsThatCannotBeReadAreDamage(t *testing.T) {
	s := small(t, t.TempDir()+"/log")
	defer s.Close()
	id, v := version(1, 0).Bucket, versions(1, 0, 3)
	_, err := s.Append(t.Context(), v, jobFor(v[2]), true)
	ok(t, err)
	row := func(kind byte) []byte { return logstore.HeadKey(kind, id, v[2].Head()) }
	ok(t, s.SetRow(slices.Concat([]byte{1}, id[:]), []byte{1, 2, 3}))
	ok(t, s.SetRow(row(3), []byte{9}))
	ok(t, s.SetRow(row(5), []byte{9}))
	_, errBucket := s.Bucket(t.Context(), id)
	_, errEntry := s.Entry(t.Context(), id, v[2].Head())
	_, errJob := s.Job(t.Context(), id, v[2].Head())
	_, errAppend := s.Append(t.Context(), versions(1, 3, 4), nil, false)
	errs := []error{errBucket, errEntry, errJob, errAppend, s.Complete(t.Context(), id, v[2].Head(), logstore.PinCount{}, false)}
	for _, err := range s.Walk(t.Context(), id, bucket.Head{}) {
		errs = append(errs, err)
		break
	}
	for _, err := range s.Jobs(t.Context()) {
		errs = append(errs, err)
	}
	for _, err := range s.Buckets(t.Context(), bucket.ID{}) {
		errs = append(errs, err)
	}
	for i, err := range errs {
		if !errors.Is(err, logstore.ErrDamaged) {
			t.Errorf("%d: got error %v, want %v", i, err, logstore.ErrDamaged)
		}
	}
}

func TestANewerSchemaRowIsNotTouched(t *testing.T) {
	dir := t.TempDir() + "/log"
	s := small(t, dir)
	ok(t, s.SetRow(logstore.SchemaKey(), logstore.EncodeSchemaRow(4)))
	ok(t, s.Close())
	wantOpen(t, dir, logstore.ErrSchema)
}

// openOnce is the child that finds the directory held.
func openOnce() int {
	s, err := logstore.OpenBadger(logstore.Config{Dir: os.Getenv("DIR")})
	fmt.Println(err)
	if err != nil {
		return 1
	}
	if err := s.Close(); err != nil {
		return 2
	}
	return 0
}

func TestASecondProcessIsTurnedAway(t *testing.T) {
	dir := t.TempDir() + "/log"
	s := small(t, dir)
	out, err := childOutput(t, "open", dir)
	for _, want := range []string{logstore.ErrLocked.Error(), dir, fmt.Sprintf("process %d", os.Getpid())} {
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("got %q, %v, want %q in it", out, err, want)
		}
	}
	_, err = logstore.OpenBadger(logstore.Config{Dir: dir})
	if !errors.Is(err, logstore.ErrLocked) {
		t.Errorf("got error %v, want %v in this process as well", err, logstore.ErrLocked)
	}
	if _, err := logstore.SetAside(dir); !errors.Is(err, logstore.ErrLocked) {
		t.Errorf("got error %v, want %v for setting it aside", err, logstore.ErrLocked)
	}
	ok(t, s.Close())
	if out, err := childOutput(t, "open", dir); err != nil {
		t.Errorf("got %q, %v, want the closed log to open", out, err)
	}
}

func TestNothingIsWrittenToAFullDisk(t *testing.T) {
	var free atomic.Uint64
	free.Store(1 << 40)
	cfg := logstore.Config{Dir: t.TempDir() + "/log", Free: func(string) (uint64, error) { return free.Load(), nil }}
	s, err := logstore.OpenBadger(cfg)
	ok(t, err)
	v := versions(1, 0, 3)
	_, err = s.Append(t.Context(), v[:2], jobFor(v[1]), true)
	ok(t, err)
	free.Store(logstore.DefaultMinFree - 1)
	added, errAppend := s.Append(t.Context(), v, jobFor(v[2]), true)
	if len(added) > 0 {
		t.Errorf("got %v added", added)
	}
	for i, err := range []error{
		errAppend,
		s.Complete(t.Context(), v[1].Bucket, v[1].Head(), logstore.PinCount{}, false),
		s.SetJob(t.Context(), v[1].Bucket, v[1].Head(), logstore.JobDead),
		s.Drop(t.Context(), v[1].Bucket, v[1].Head()),
		s.SetCondition(t.Context(), v[1].Bucket, logstore.Condition{State: "blocked"}),
	} {
		if !errors.Is(err, logstore.ErrDiskFull) {
			t.Errorf("%d: got error %v, want %v", i, err, logstore.ErrDiskFull)
		}
	}
	b, err := s.Bucket(t.Context(), v[0].Bucket)
	if err != nil || b.Known != v[1].Head() || !b.Complete.IsZero() || !b.Condition.IsZero() {
		t.Errorf("got %v, %v, want what was there before", b, err)
	}
	free.Store(1 << 40)
	_, err = s.Append(t.Context(), v, jobFor(v[2]), true)
	ok(t, err)
	ok(t, s.Close())
	free.Store(0)
	if _, err := logstore.OpenBadger(cfg); !errors.Is(err, logstore.ErrDiskFull) {
		t.Errorf("got error %v, want %v when it is opened", err, logstore.ErrDiskFull)
	}
	cfg.Free = func(string) (uint64, error) { return 0, fs.ErrPermission }
	if _, err := logstore.OpenBadger(cfg); !errors.Is(err, fs.ErrPermission) || errors.Is(err, logstore.ErrDamaged) {
		t.Errorf("got error %v, want %v", err, fs.ErrPermission)
	}
	cfg.Free, cfg.MinFree = nil, 1
	s, err = logstore.OpenBadger(cfg) // asks the file system
	ok(t, err)
	ok(t, s.Close())
	cfg.MinFree = 1 << 62
	if _, err := logstore.OpenBadger(cfg); !errors.Is(err, logstore.ErrDiskFull) {
		t.Errorf("got error %v, want %v for %d bytes", err, logstore.ErrDiskFull, uint64(1<<62))
	}
}

// dieWhileOpening is the child whose process ends inside Badger.
func dieWhileOpening() int {
	_, err := logstore.OpenWith(logstore.Config{Dir: os.Getenv("DIR")}, func(badger.Options) (*badger.DB, error) {
		fmt.Println("inside")
		os.Exit(3)
		return nil, nil
	})
	fmt.Println(err)
	return 1
}

func TestALogThatKillsItsProcessIsDamaged(t *testing.T) {
	dir := filled(t, closed)
	die := func() {
		t.Helper()
		if out, err := childOutput(t, "die while opening", dir); out != "inside" {
			t.Fatalf("got %q, %v, want a child that dies inside", out, err)
		}
	}
	for range logstore.MaxStarts - 1 {
		die()
	}
	ok(t, small(t, dir).Close()) // a start that works forgets the others
	for range logstore.MaxStarts {
		die()
	}
	wantOpen(t, dir, logstore.ErrDamaged)
	ok(t, os.Remove(dir+"/headwater.opening"))
	wantOpen(t, dir, nil)
}

func TestWhatBadgerSaysAtTheStart(t *testing.T) {
	for name, test := range map[string]struct {
		open func(badger.Options) (*badger.DB, error)
		want error
	}{
		"panic":   {func(badger.Options) (*badger.DB, error) { panic("index out of range") }, logstore.ErrDamaged},
		"error":   {func(badger.Options) (*badger.DB, error) { return nil, errors.New("checksum mismatch") }, logstore.ErrDamaged},
		"foreign": {func(badger.Options) (*badger.DB, error) { return nil, errors.New("Cannot acquire directory lock on") }, logstore.ErrLocked},
		"files":   {func(badger.Options) (*badger.DB, error) { return nil, errors.New("open x: too many open files") }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := logstore.OpenWith(logstore.Config{Dir: t.TempDir() + "/log"}, test.open)
			switch {
			case err == nil || test.want != nil && !errors.Is(err, test.want):
				t.Errorf("got error %v, want %v", err, test.want)
			case test.want == nil && errors.Is(err, logstore.ErrDamaged):
				t.Errorf("got error %v, want one that does not condemn the log", err)
			}
		})
	}
	if _, err := logstore.OpenBadger(logstore.Config{}); err == nil {
		t.Errorf("got no error without a directory")
	}
}

func TestADamagedLogIsSetAside(t *testing.T) {
	dir := filled(t, closed)
	keepOf(t, dir, 8)
	wantOpen(t, dir, logstore.ErrDamaged)
	moved, err := logstore.SetAside(dir)
	ok(t, err)
	if filepath.Dir(moved) != filepath.Dir(dir) || !strings.HasPrefix(moved, dir+".damaged-") {
		t.Errorf("got %s, want a directory beside %s", moved, dir)
	}
	oneOf(t, moved, ".sst")
	s := small(t, dir)
	for b, err := range s.Buckets(t.Context(), bucket.ID{}) {
		t.Errorf("got %v, %v in a fresh log", b, err)
	}
	ok(t, s.Close())
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	first, err := logstore.MoveAside(dir, now)
	ok(t, err)
	ok(t, small(t, dir).Close())
	second, err := logstore.MoveAside(dir, now)
	ok(t, err)
	if first != dir+".damaged-20260102T030405Z" || second != first+"-2" {
		t.Errorf("got %s and %s", first, second)
	}
	if _, err := logstore.SetAside(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got error %v, want %v", err, fs.ErrNotExist)
	}
}

// What is buffered is lost with the process, and only that.
func TestAPublishedJobIsPublishedAgainAfterACrash(t *testing.T) {
	dir := t.TempDir() + "/log"
	s := small(t, dir)
	a, b := version(1, 0), version(2, 0)
	for _, e := range []logstore.Entry{a, b} {
		_, err := s.Append(t.Context(), []logstore.Entry{e}, jobFor(e), true)
		ok(t, err)
	}
	ok(t, s.SetJob(t.Context(), a.Bucket, a.Head(), logstore.JobPublished))
	ok(t, s.SetCondition(t.Context(), b.Bucket, logstore.Condition{State: "blocked"})) // a's rides along
	ok(t, s.SetJob(t.Context(), b.Bucket, b.Head(), logstore.JobPublished))
	ok(t, s.Kill())
	s = small(t, dir)
	defer s.Close()
	for e, want := range map[logstore.Entry]logstore.JobState{a: logstore.JobPublished, b: logstore.JobPending} {
		j, err := s.Job(t.Context(), e.Bucket, e.Head())
		if err != nil || j.State != want {
			t.Errorf("got %v, %v, want state %v", j, err, want)
		}
	}
}

// A call that waits behind another one's transaction can be called off, and then has done nothing.
func TestAWaitingCallCanBeCalledOff(t *testing.T) {
	var blocking atomic.Bool
	entered, leave := make(chan struct{}), make(chan struct{})
	s, err := logstore.OpenBadger(logstore.Config{Dir: t.TempDir() + "/log", Free: func(string) (uint64, error) {
		if blocking.CompareAndSwap(true, false) {
			entered <- struct{}{}
			<-leave
		}
		return 1 << 40, nil
	}})
	ok(t, err)
	defer s.Close()
	blocking.Store(true)
	done := make(chan error, 2)
	add := func(ctx context.Context, n int) {
		_, err := s.Append(ctx, versions(n, 0, 1), nil, false)
		done <- err
	}
	go add(t.Context(), 1)
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	add(ctx, 2) // queued behind the first
	if err := <-done; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got error %v, want %v", err, context.DeadlineExceeded)
	}
	add(ctx, 1)
	if err := <-done; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got error %v, want %v while the bucket is written", err, context.DeadlineExceeded)
	}
	close(leave)
	ok(t, <-done)
	if _, err := s.Bucket(t.Context(), version(2, 0).Bucket); !errors.Is(err, logstore.ErrNotFound) {
		t.Errorf("got error %v, want %v for what was called off", err, logstore.ErrNotFound)
	}
	add(t.Context(), 2)
	ok(t, <-done)
}

func TestBadgerSpeaksThroughTheLogger(t *testing.T) {
	var out bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := logstore.OpenBadger(logstore.Config{Dir: t.TempDir() + "/log", Logger: logger})
	ok(t, err)
	ok(t, s.Close())
	if !strings.Contains(out.String(), `level=DEBUG msg="badger: `) || strings.Contains(out.String(), `\n"`) {
		t.Errorf("got %s, want Badger's lines at level DEBUG", &out)
	}
}
