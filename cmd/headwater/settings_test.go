package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headwater/bucket"
	"headwater/peer"

	"github.com/nats-io/nkeys"
)

func TestSettings_FlagsWinOverEnvironmentOverFile(t *testing.T) {
	home := t.TempDir()
	dirs := map[string]string{}
	ids := map[string]string{}
	for _, from := range []string{"flag", "environment", "file"} {
		dirs[from] = filepath.Join(home, from)
		code, out, errs := run(t, nil, "init", "--dir", dirs[from])
		if code != 0 {
			t.Fatal(errs)
		}
		ids[from] = out
	}
	config := filepath.Join(home, "headwater", "config.toml")
	if err := os.MkdirAll(filepath.Dir(config), 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("dir = '" + dirs["file"] + "'\nblob-store = ['a', 'hub/b']\nretry-limit = 3\n")
	env := map[string]string{"XDG_CONFIG_HOME": home}
	expect := func(from string, args ...string) {
		t.Helper()
		if code, out, errs := run(t, env, append([]string{"id"}, args...)...); code != 0 || out != ids[from] {
			t.Errorf("got %d, %s%s, want the identity of the %s", code, out, errs, from)
		}
	}
	expect("file")
	env["HEADWATER_DIR"] = dirs["environment"]
	expect("environment")
	expect("flag", "--dir", dirs["flag"])

	write("raw = true\nbucket = 'photos'\n") // of subcommands
	expect("environment")

	write("no-such-setting = 1\n")
	if code, _, errs := run(t, env, "id"); code != exitUsage || !strings.Contains(errs, "no-such-setting") {
		t.Errorf("got %d, %q, want %d and the setting's name", code, errs, exitUsage)
	}
	write("json = 'perhaps'\n")
	if code, _, errs := run(t, env, "id"); code != exitUsage {
		t.Errorf("got %d, %q, want %d", code, errs, exitUsage)
	}
	if code, _, errs := run(t, env, "id", "--config", filepath.Join(home, "absent")); code != exitUsage {
		t.Errorf("got %d, %q, want %d for a file that was named and is absent", code, errs, exitUsage)
	}
}

func TestInit_NeverReplacesAnIdentity(t *testing.T) {
	dir := t.TempDir()
	_, first, _ := run(t, nil, "init", "--dir", dir)
	info, err := os.Stat(filepath.Join(dir, "identity.pem"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v, want a file that only its owner can read", info.Mode(), err)
	}
	if code, _, errs := run(t, nil, "init", "--dir", dir); code != exitFailed || !strings.Contains(errs, "already") {
		t.Errorf("got %d, %q, want a refusal", code, errs)
	}
	if _, again, _ := run(t, nil, "id", "--dir", dir); again != first {
		t.Errorf("got %s, want %s", again, first)
	}
	other := t.TempDir()
	if code, copied, errs := run(t, nil, "init", "--dir", other, "--import", filepath.Join(dir, "identity.pem")); code != 0 || copied != first {
		t.Errorf("import: got %d, %s%s, want %s", code, copied, errs, first)
	}
}

func TestParseIdentity(t *testing.T) {
	pair, err := nkeys.FromRawSeed(nkeys.PrefixByteUser, bytes.Repeat([]byte{7}, bucket.SeedSize))
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	body := "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI="
	for _, tt := range []struct {
		name, text string
		ok         bool
	}{
		{"PEM", "-----BEGIN PRIVATE KEY-----\n" + body + "\n-----END PRIVATE KEY-----\n", true},
		{"PEM with CRLF", "-----BEGIN PRIVATE KEY-----\r\n" + body + "\r\n-----END PRIVATE KEY-----\r\n", true},
		{"PEM of another type", "-----BEGIN RSA PRIVATE KEY-----\n" + body + "\n-----END RSA PRIVATE KEY-----\n", false},
		{"PEM too short", "-----BEGIN PRIVATE KEY-----\nMTIz\n-----END PRIVATE KEY-----\n", false},
		{"nkey", string(seed) + "\n", true},
		{"broken nkey", string(seed[:50]), false},
		{"nothing", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, err := peer.ParseIdentity("file", []byte(tt.text))
			if (err == nil) != tt.ok {
				t.Fatalf("got %v, want ok %v", err, tt.ok)
			}
			if tt.ok && len(id.Seed()) != bucket.SeedSize {
				t.Errorf("got a seed of %d bytes", len(id.Seed()))
			}
		})
	}
}
