package jetstream

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Validate says what is wrong with the prefix, the domain or the URLs of a configuration, as far as that can be told without a server:
// waiting for the broker would not help.
func (c Config) Validate() error {
	if err := (Names{Prefix: c.Prefix}).Validate(); err != nil {
		return err
	}
	if strings.Trim(c.Domain, nameChars) != "" {
		return fmt.Errorf("JetStream domain %.80q: want letters, digits, _ and -", c.Domain)
	}
	if c.URL == "" {
		return nil
	}
	for server := range strings.SplitSeq(c.URL, ",") {
		if err := validateURL(strings.TrimSpace(server)); err != nil {
			return err
		}
	}
	return nil
}

// validateURL refuses schemes that nats.go would take for nats. It names no more of a URL than its scheme: the rest may hold credentials.
func validateURL(server string) error {
	if !strings.Contains(server, "://") {
		server = "nats://" + server
	}
	schemes := []string{"nats", "tls", "ws", "wss"}
	u, err := url.Parse(server)
	if wrong, ok := errors.AsType[*url.Error](err); ok {
		return fmt.Errorf("a server's URL cannot be read: %w", wrong.Err)
	}
	switch {
	case err != nil:
		return errors.New("a server's URL cannot be read")
	case !slices.Contains(schemes, u.Scheme):
		return fmt.Errorf("a server's URL begins with %.20q: want one of %s", u.Scheme+"://", strings.Join(schemes, ", "))
	case u.Hostname() == "":
		return errors.New("a server's URL names no host")
	}
	return nil
}
