package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// What can never work is wrong use: nothing is made, and the text names what is wrong.
func TestWrongUseIsExitCode2AndNamed(t *testing.T) {
	env := map[string]string{"XDG_CONFIG_HOME": t.TempDir()}
	dir := filepath.Join(t.TempDir(), "peer")
	if code, _, errs := run(t, env, "create", "photos", "--dir", dir); code != 0 {
		t.Fatal(errs)
	}
	file := filepath.Join(dir, "identity.pem")
	absent := filepath.Join(dir, "absent")
	for _, tt := range []struct{ args, named string }{
		{"status --timeout -1s", "--timeout"},
		{"status --timeout 0s", "--timeout"},
		{"log photos -n -1", "--limit"},
		{"run --retry-min -1s", "--retry-min"},
		{"run --sync-interval -1s", "--sync-interval"},
		{"run --max-versions 0", "--max-versions"},
		{"run --stage-limit 0", "--stage-limit"},
		{"commit photos " + absent, absent},
		{"commit photos " + file, file},
		{"checkout photos " + file, file},
		{"create more --context nowhere", "nowhere"},
		{"status --context nowhere", "nowhere"},
		{"commit photos " + dir + " --context /nowhere/at/all.json", "/nowhere/at/all.json"},
		{"dead ls --context nowhere", "nowhere"},
		{"run --context nowhere", "nowhere"},
		{"run --nats foo://x", "foo://"},
		{"create more --nats nats://", "no host"},
		{"status --nats nats://one,http://two", "http://"},
		{"run --prefix Water", "Water"},
	} {
		code, out, errs := run(t, env, append(strings.Fields(tt.args), "--dir", dir)...)
		if code != exitUsage || out != "" || !strings.Contains(errs, tt.named) {
			t.Errorf("%s: got exit %d, %q, %q, want %d and %s named", tt.args, code, out, errs, exitUsage, tt.named)
		}
	}
	if _, out, _ := run(t, env, "status", "--dir", dir); strings.Contains(out, "more") || !strings.Contains(out, "photos") {
		t.Errorf("got %s, want nothing made by what was refused", out)
	}
}

func TestSecondBucketOfANameIsSaid(t *testing.T) {
	dir := t.TempDir()
	create := func(name string) (out, errs string) {
		code, out, errs := run(t, nil, "create", name, "--dir", dir)
		if code != 0 {
			t.Fatalf("got exit %d, %s", code, errs)
		}
		return out, errs
	}
	const said = "names another bucket too"
	for _, name := range []string{"photos", "more"} {
		if _, errs := create(name); strings.Contains(errs, said) {
			t.Errorf("got %q of the first bucket %s, want no warning", errs, name)
		}
	}
	out, errs := create("photos")
	id := strings.TrimSuffix(strings.Fields(out)[2], ",")
	if !strings.Contains(errs, said) || !strings.Contains(errs, id) {
		t.Errorf("got %q, want it said that there are two, and %s to name this one", errs, id)
	}
}
