package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"headwater/jetstream"
)

// settle gives every flag that was not set on the command line its value from the environment, or else from the config file.
// A setting in the file that no command knows is refused: it would do nothing.
func (a *app) settle(ctx context.Context, cmd *cobra.Command) error {
	if err := a.fromEnvironment(cmd.Flags().Lookup("config")); err != nil {
		return err
	}
	file, err := a.readConfig(ctx)
	if err != nil {
		return err
	}
	for key := range file {
		if !hasSetting(cmd.Root(), key) {
			return usagef("config file %s: there is no setting %q", a.configFile(), key)
		}
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if err == nil && !f.Changed && f.Name != "help" {
			err = a.settleFlag(f, file)
		}
		if isNumber := !strings.HasPrefix(f.Value.Type(), "string"); err == nil && isNumber && strings.HasPrefix(f.Value.String(), "-") {
			err = usagef("--%s: %s is less than 0", f.Name, f.Value)
		}
	})
	if err == nil {
		err = moreThanZero(cmd, "timeout")
	}
	if err == nil {
		err = a.checkContext()
	}
	if err != nil {
		return err
	}
	if err := (jetstream.Names{Prefix: a.cfg.NATS.Prefix}).Validate(); err != nil {
		return usageError{err}
	}
	return nil
}

// hasSetting reports whether a command, or one below it, has a flag of that name.
func hasSetting(cmd *cobra.Command, name string) bool {
	return cmd.Flags().Lookup(name) != nil || cmd.PersistentFlags().Lookup(name) != nil ||
		slices.ContainsFunc(cmd.Commands(), func(c *cobra.Command) bool { return hasSetting(c, name) })
}

// moreThanZero refuses numbers and durations that are zero. settle refuses negative ones of every flag.
func moreThanZero(cmd *cobra.Command, names ...string) error {
	for _, name := range names {
		if v := cmd.Flag(name).Value.String(); v == "0" || v == "0s" {
			return usagef("--%s: %s is not more than 0", name, v)
		}
	}
	return nil
}

// checkContext refuses a context of the nats command that is not there: its broker would be waited for in vain.
func (a *app) checkContext() error {
	file := a.cfg.NATS.Context
	if file == "" {
		return nil
	}
	if !filepath.IsAbs(file) {
		dir, _ := a.env("XDG_CONFIG_HOME")
		if u, err := user.Current(); dir == "" && err == nil {
			dir = filepath.Join(u.HomeDir, ".config")
		}
		file = filepath.Join(dir, "nats", "context", file+".json")
	}
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return usagef("--context: there is no context %q: no file %s; 'nats context ls' lists those that are there", a.cfg.NATS.Context, file)
	}
	return nil
}

func (a *app) settleFlag(f *pflag.Flag, file map[string]any) error {
	if err := a.fromEnvironment(f); err != nil || f.Changed {
		return err
	}
	value, ok := file[f.Name]
	if !ok {
		return nil
	}
	texts := []any{value}
	if list, ok := value.([]any); ok {
		texts = list
	}
	for _, v := range texts {
		if err := f.Value.Set(fmt.Sprint(v)); err != nil {
			return usagef("config file %s: %s: %w", a.configFile(), f.Name, err)
		}
	}
	f.Changed = true
	return nil
}

// fromEnvironment sets a flag from its variable: --log-level from HEADWATER_LOG_LEVEL.
func (a *app) fromEnvironment(f *pflag.Flag) error {
	if f.Changed {
		return nil
	}
	name := "HEADWATER_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
	value, ok := a.env(name)
	if !ok || value == "" {
		return nil
	}
	if err := f.Value.Set(value); err != nil {
		return usagef("%s: %w", name, err)
	}
	f.Changed = true
	return nil
}

// readConfig returns the settings of the config file, none if the default file does not exist.
func (a *app) readConfig(ctx context.Context) (map[string]any, error) {
	var file map[string]any
	f, r, err := openFile(ctx, a.configFile())
	if err == nil {
		_, err = toml.NewDecoder(r).Decode(&file)
		err = errors.Join(err, f.Close())
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if errors.Is(err, fs.ErrNotExist) && a.config == "" {
		return nil, nil
	}
	if err != nil {
		return nil, usagef("config file %s: %w", a.configFile(), err)
	}
	return file, nil
}

func (a *app) configFile() string {
	if a.config != "" {
		return a.config
	}
	return filepath.Join(a.userDir("XDG_CONFIG_HOME", ".config", "Library/Application Support", "APPDATA"), "headwater", "config.toml")
}

// dataDir is the default of --dir: the user's data directory for the system.
func (a *app) dataDir() string {
	return filepath.Join(a.userDir("XDG_DATA_HOME", ".local/share", "Library/Application Support", "LOCALAPPDATA"), "headwater")
}

// userDir finds a directory of the user's by the custom of the system.
func (a *app) userDir(xdg, unix, mac, windows string) string {
	if dir, ok := a.env(xdg); ok && filepath.IsAbs(dir) {
		return dir
	}
	if dir, ok := a.env(windows); ok && runtime.GOOS == "windows" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = "."
	}
	if runtime.GOOS == "darwin" {
		return filepath.Join(home, mac)
	}
	return filepath.Join(home, unix)
}
