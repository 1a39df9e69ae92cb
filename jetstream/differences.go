package jetstream

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	natsjs "github.com/nats-io/nats.go/jetstream"
)

// Difference is one setting on the server that is not what Headwater would have chosen. Whoever runs the server may have
// good reasons.
type Difference struct {
	Asset   string // such as "stream HEADWATER_HEADS"
	Setting string // the name that NATS gives it, such as "max_msgs_per_subject"
	Want    string
	Have    string
	// Breaks: a promise cannot be kept with it. Otherwise it costs speed or comfort.
	Breaks bool
	// Fix is the command that would change it. If NATS cannot change the setting, it deletes the asset and makes it anew,
	// and what a stream holds is lost.
	Fix string
}

// setting is one comparison; it is a difference if want and have are not the same.
type setting struct {
	name, want, have string
	flag             string // of "nats … edit"; empty if it cannot be changed
	breaks           bool
}

func (c *Client) streamDifferences(want, have natsjs.StreamConfig) []Difference {
	all := append(streamShape(want, have), streamLimits(want, have)...)
	name, edit := "stream "+want.Name, "nats stream edit "+want.Name
	remake := "nats stream rm -f " + want.Name + " && " + c.addStreamCommand(want)
	if s := storeOf(want); s != "" {
		name = "object store " + s
		remake = "nats object del -f " + s + " && " + c.addStreamCommand(want)
	}
	return c.differences(all, name, edit, remake)
}

func (c *Client) differences(all []setting, name, edit, remake string) (d []Difference) {
	for _, s := range all {
		if s.want == s.have {
			continue
		}
		fix := remake
		if s.flag != "" {
			fix = edit + " " + s.flag + " --force" + c.apiFlag()
		}
		d = append(d, Difference{Asset: name, Setting: s.name, Want: s.want, Have: s.have, Breaks: s.breaks, Fix: fix})
	}
	return d
}

// streamShape compares what a stream is.
func streamShape(want, have natsjs.StreamConfig) []setting {
	all := []setting{
		{name: "retention", want: want.Retention.String(), have: have.Retention.String(), breaks: true},
		{name: "storage", want: want.Storage.String(), have: have.Storage.String(), breaks: true},
		{name: "sealed", want: "false", have: strconv.FormatBool(have.Sealed), breaks: true},
		{name: "allow_direct", want: atLeast(want.AllowDirect, have.AllowDirect), have: strconv.FormatBool(have.AllowDirect),
			flag: "--allow-direct"},
		{name: "no_ack", want: "false", have: strconv.FormatBool(have.NoAck), flag: "--ack", breaks: true},
	}
	if have.Mirror != nil {
		// A mirror has no subjects of its own: what is written goes to its origin.
		return all
	}
	all = append(all, setting{name: "allow_rollup_hdrs", want: atLeast(want.AllowRollup, have.AllowRollup),
		have: strconv.FormatBool(have.AllowRollup), flag: "--allow-rollup", breaks: true})
	if !covers(have.Subjects, want.Subjects) {
		union := append(slices.Clone(have.Subjects), want.Subjects...)
		all = append(all, setting{name: "subjects", want: strings.Join(want.Subjects, ","),
			have: strings.Join(have.Subjects, ","), flag: subjectFlags(union), breaks: true})
	}
	return all
}

// streamLimits compares how much a stream keeps, and how safely.
func streamLimits(want, have natsjs.StreamConfig) []setting {
	all := []setting{
		{name: "num_replicas", want: strconv.Itoa(max(want.Replicas, have.Replicas)), have: strconv.Itoa(have.Replicas),
			flag: fmt.Sprintf("--replicas=%d", want.Replicas)},
		{name: "duplicate_window", want: max(want.Duplicates, have.Duplicates).String(), have: have.Duplicates.String(),
			flag: "--dupe-window=" + want.Duplicates.String()},
		{name: "max_age", want: want.MaxAge.String(), have: have.MaxAge.String(), flag: "--max-age=" + cliAge(want.MaxAge)},
	}
	perSubject := func(n int64) string { return strconv.FormatInt(max(n, 0), 10) }
	return append(all, setting{name: "max_msgs_per_subject", want: perSubject(want.MaxMsgsPerSubject),
		have: perSubject(have.MaxMsgsPerSubject), flag: fmt.Sprintf("--max-msgs-per-subject=%d", want.MaxMsgsPerSubject),
		breaks: want.MaxMsgsPerSubject <= 0})
}

func (c *Client) durableDifferences(want durable, info durableInfo) []Difference {
	w, have := want.config, info.Config
	name, where := "durable "+w.Durable+" on "+want.stream, want.stream+" "+w.Durable
	filters := append(slices.Clone(have.FilterSubjects), have.FilterSubject)
	filters = slices.DeleteFunc(filters, func(f string) bool { return f == "" })
	all := []setting{
		{name: "ack_policy", want: w.AckPolicy.String(), have: have.AckPolicy.String(), breaks: true},
		{name: "deliver_policy", want: w.DeliverPolicy.String(), have: have.DeliverPolicy.String()},
		{name: "deliver_subject", want: "", have: have.DeliverSubject, breaks: true},
		{name: "filter_subject", want: w.FilterSubject, have: strings.Join(filters, ","),
			flag: "--filter=" + quote(w.FilterSubject), breaks: true},
		{name: "max_deliver", want: "-1", have: strconv.Itoa(have.MaxDeliver), flag: "--max-deliver=-1", breaks: true},
		// A shorter lease than ours runs out between two extensions of it.
		{name: "ack_wait", want: w.AckWait.String(), have: have.AckWait.String(), flag: "--wait=" + w.AckWait.String(),
			breaks: have.AckWait < w.AckWait},
		{name: "backoff", want: "none", have: backoffText(have.BackOff), flag: "--backoff=none", breaks: true},
		{name: "max_ack_pending", want: strconv.Itoa(w.MaxAckPending),
			have: strconv.Itoa(enough(have.MaxAckPending, w.MaxAckPending)), flag: fmt.Sprintf("--max-pending=%d", w.MaxAckPending)},
		{name: "headers_only", want: "false", have: strconv.FormatBool(have.HeadersOnly), flag: "--no-headers-only",
			breaks: true},
	}
	d := c.differences(all, name, "nats consumer edit "+where, "nats consumer rm -f "+where+" && "+c.addDurableCommand(want))
	if info.Paused {
		d = append(d, Difference{Asset: name, Setting: "paused", Want: "false", Have: "true", Breaks: true,
			Fix: "nats consumer resume " + where + " --force" + c.apiFlag()})
	}
	return d
}

// addStreamCommand is the nats command that makes a stream or an object store.
func (c *Client) addStreamCommand(s natsjs.StreamConfig) string {
	if name := storeOf(s); name != "" {
		return fmt.Sprintf("nats object add %s --storage=file --replicas=%d%s", name, s.Replicas, c.apiFlag())
	}
	retention := "limits"
	if s.Retention == natsjs.WorkQueuePolicy {
		retention = "work"
	}
	flags := []string{"nats stream add", s.Name, subjectFlags(s.Subjects), "--storage=file", "--retention=" + retention,
		fmt.Sprintf("--replicas=%d", s.Replicas), "--dupe-window=" + s.Duplicates.String(),
		fmt.Sprintf("--max-msgs-per-subject=%d", s.MaxMsgsPerSubject)}
	if s.MaxAge > 0 {
		flags = append(flags, "--max-age="+cliAge(s.MaxAge))
	}
	if s.AllowDirect {
		flags = append(flags, "--allow-direct")
	}
	return strings.Join(flags, " ") + " --defaults" + c.apiFlag()
}

// addDurableCommand is the nats command that makes a durable.
func (c *Client) addDurableCommand(d durable) string {
	return fmt.Sprintf("nats consumer add %s %s --pull --filter=%s --deliver=all --ack=explicit --replay=instant "+
		"--max-deliver=-1 --wait=%s --max-pending=%d --defaults%s", d.stream, d.config.Durable, quote(d.config.FilterSubject),
		d.config.AckWait, d.config.MaxAckPending, c.apiFlag())
}

// apiFlag leads the nats command to the JetStream API that this client uses.
func (c *Client) apiFlag() string {
	if c.api == apiPrefix("") {
		return ""
	}
	return " --js-api-prefix=" + quote(c.api)
}

func subjectFlags(subjects []string) string {
	flags := make([]string, len(subjects))
	for i, s := range subjects {
		flags[i] = "--subjects=" + quote(s)
	}
	return strings.Join(flags, " ")
}

// quote makes s one word for a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// cliAge writes an age as the nats command reads it; -1 is none.
func cliAge(d time.Duration) string {
	if d <= 0 {
		return "-1"
	}
	return d.String()
}

// atLeast is the wanted value of a flag that does no harm if it is set without being wanted.
func atLeast(want, have bool) string { return strconv.FormatBool(want || have) }

// enough is want if have is more, or no limit; else it is have.
func enough(have, want int) int {
	if have <= 0 || have > want {
		return want
	}
	return have
}

func backoffText(steps []time.Duration) string {
	if len(steps) == 0 {
		return "none"
	}
	return fmt.Sprint(steps)
}

// covers reports whether every subject of want is matched by one of have.
func covers(have, want []string) bool {
	return !slices.ContainsFunc(want, func(w string) bool {
		return !slices.ContainsFunc(have, func(h string) bool { return subjectCovers(h, w) })
	})
}

// subjectCovers reports whether pattern matches every subject that sub, itself perhaps a pattern, matches.
func subjectCovers(pattern, sub string) bool {
	p, s := strings.Split(pattern, "."), strings.Split(sub, ".")
	for i, token := range p {
		if token == ">" {
			return len(s) > i
		}
		if i >= len(s) || s[i] == ">" || (token != "*" && token != s[i]) {
			return false
		}
	}
	return len(p) == len(s)
}
