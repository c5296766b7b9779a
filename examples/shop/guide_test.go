package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// step is what the guide has the reader type, and what it says will be seen.
type step struct {
	command string // empty: it is to be seen in the first terminal
	output  []string
}

// steps returns the steps of a section of a page: the lines that are indented by four spaces, of which commands begin
// with a dollar sign.
func steps(t *testing.T, page, section string) []step {
	t.Helper()
	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(content), "\n## "+section+"\n")
	if !ok {
		t.Fatalf("%s has no section %q", page, section)
	}
	text, _, _ = strings.Cut(text, "\n### What else it can be")
	text = regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(text, "")
	var list []step
	inside := false
	for line := range strings.Lines(text) {
		line, indented := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "    ")
		switch {
		case strings.HasPrefix(line, "$ ") && indented:
			list = append(list, step{command: line[2:]})
			inside = true
		case indented && !inside:
			list = append(list, step{output: []string{line}})
			inside = true
		case indented:
			last := &list[len(list)-1]
			last.output = append(last.output, line)
		case line != "":
			inside = false
		}
	}
	return list
}

// What differs from one time to the next, and stands for itself only.
var (
	anAddress = regexp.MustCompile(`127\.0\.0\.1[: ]\d+`)
	aTime     = regexp.MustCompile(`\d\d:\d\d:\d\d(\.\d+)?`)
	aTrace    = regexp.MustCompile(`\b[0-9a-f]{32}\b`)
	anOffset  = regexp.MustCompile(`\+0x[0-9a-f]+`)
	aNumber   = regexp.MustCompile(`\d[\d.]*(e[+-]\d+)?(ns|µs|ms|m[\d.]+s|s)?\b`)
	aBar      = regexp.MustCompile(`█+`)
	aSpace    = regexp.MustCompile(`\s+`)
)

// shapeOf returns a line without what differs. Addresses of servers that have a name are that.
func shapeOf(line string, named func(address string) string) string {
	line = anAddress.ReplaceAllStringFunc(line, named)
	for _, rule := range []struct {
		pattern *regexp.Regexp
		by      string
	}{{aTime, "TIME"}, {aTrace, "TRACE"}, {anOffset, ""}, {aNumber, "N"}, {aBar, ""}, {aSpace, " "}} {
		line = rule.pattern.ReplaceAllString(line, rule.by)
	}
	return strings.TrimSpace(line)
}

// inGuide returns the name of a server by the port that it has in the guide.
func inGuide(address string) string {
	name := map[string]string{
		"7401": "front", "7402": "stock-a", "7403": "stock-b",
		"7411": "front's pages", "7412": "stock-a's pages", "7413": "stock-b's pages",
	}[address[len("127.0.0.1:"):]]
	return cmp.Or(name, "ADDRESS")
}

// inTest is inGuide for the addresses that the test's shop has.
func (s *shop) inTest(address string) string {
	for name, own := range s.edict {
		if own == address {
			return name
		}
		if s.web[name] == address {
			return name + "'s pages"
		}
	}
	return "ADDRESS"
}

// missing returns the first of the lines that the guide has and an output has not, in the same order. An ellipsis stands
// for anything.
func (r *reader) missing(guide []string, output string) (line string, found bool) {
	named := func(string) string { return "ADDRESS" }
	if r.shop != nil {
		named = r.shop.inTest
	}
	lines := strings.Split(output, "\n")
	for _, want := range guide {
		if strings.TrimSpace(want) == "…" || strings.TrimSpace(want) == "" {
			continue
		}
		pattern := strings.ReplaceAll(regexp.QuoteMeta(shapeOf(want, inGuide)), "…", ".*")
		matches := regexp.MustCompile("^" + pattern + "$").MatchString
		for len(lines) > 0 && !matches(shapeOf(lines[0], named)) {
			lines = lines[1:]
		}
		if len(lines) == 0 {
			return want, true
		}
		lines = lines[1:]
	}
	return "", false
}

// durations returns those of an output that a pattern captures, in the last place where it matches.
func durations(output, pattern string) ([]time.Duration, error) {
	matches := regexp.MustCompile(pattern).FindAllStringSubmatch(output, -1)
	if matches == nil {
		return nil, fmt.Errorf("no %s", pattern)
	}
	var list []time.Duration
	for _, text := range matches[len(matches)-1][1:] {
		d, err := time.ParseDuration(text)
		if err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	return list, nil
}

const took = `([\d.]+[nµm]?s)`

// meanings are what the figures must be for the guide to be right, beside their shape, by commands. Each returns whether
// they are.
var meanings = map[string]struct {
	pattern string
	holds   func(d []time.Duration) bool
}{
	"edict watch -n 1 127.0.0.1:7401": {
		`(?m)^Order +\d+ +` + took + ` +` + took + ` +` + took + ` +` + took + `$`,
		func(d []time.Duration) bool { return d[2] > 100*time.Millisecond && d[0] < d[2]/2 },
	},
	"go run ./examples/shop traces -of Order -n 1": {
		`(?m)^ +` + took + ` +` + took + ` +stock-b +server Reserve$`,
		func(d []time.Duration) bool { return d[1] > 290*time.Millisecond },
	},
	"go run ./examples/shop traces -of Order -n 1 -under 250ms": {
		`(?m)^ +` + took + ` +` + took + ` +stock-b +server Reserve$`,
		func(d []time.Duration) bool { return d[0] > 20*time.Millisecond && d[1] < d[0]/2 },
	},
	"edict watch -n 1 -i 20ms --older 150ms 127.0.0.1:7403; curl -s 'http://127.0.0.1:7413/debug/pprof/goroutine?debug=1' | grep -o 'shop/commands.*'": {
		`(?m)^Reserve +running +` + took + ` .*\nReserve +turn +` + took + ` `,
		func(d []time.Duration) bool { return d[0] > 150*time.Millisecond && d[1] < d[0] },
	},
	`edict bench 127.0.0.1:7403 Reserve '{"Article":"tea"}' -c 4 -d 1s`: {
		`p99 ` + took + `, at most `, func(d []time.Duration) bool { return d[0] > 290*time.Millisecond },
	},
	"curl -s http://127.0.0.1:7411/metrics | grep -E '^(edict_group_retries|edict_client_connects|rpc_client_call_duration_seconds_count)'": {
		`(?m)^edict_group_retries_total\{edict_name="holds"\} [1-9]`, func([]time.Duration) bool { return true },
	},
	"go run ./examples/shop": {
		`orders: \d+, p50 ` + took + `, p99 ` + took + `, failed 0`,
		func(d []time.Duration) bool { return d[1] > 250*time.Millisecond && d[0] < d[1]/2 },
	},
	"go run ./examples/shop -fixed": { // two in a row: one may be by chance
		strings.Repeat(`orders: \d+, p50 `+took+`, p99 `+took+`, failed 0.*\n`+`.*`, 2),
		func(d []time.Duration) bool { return max(d[1], d[3]) < 200*time.Millisecond },
	},
}

// reader goes through the guide.
type reader struct {
	t       *testing.T
	folder  string // of programs
	shop    *shop
	network *program // the proxy, if it runs
	proxied string   // what it listens at
	trouble string   // the last command that was to make some
}

// The guide's command lines do what it says, on the service that it starts, and what is seen is what it shows, but for the
// figures; where figures matter, they do too.
func TestTheGuide(t *testing.T) {
	r := &reader{t: t, folder: t.TempDir()}
	r.install()
	done := map[string]bool{}
	list := steps(t, "../../docs/operating.md", "From a slow call to its cause")
	for _, s := range list {
		done[s.command] = true
		switch {
		case s.command == "":
			r.shop.wait("the first terminal has "+strings.Join(s.output, "\n"), func(output string) bool {
				_, lacks := r.missing(s.output, output)
				return !lacks
			})
		case s.command == "go run ./examples/shop", s.command == "go run ./examples/shop -fixed":
			r.open(s)
		case strings.HasPrefix(s.command, "edict proxy "):
			r.proxy(s)
		default:
			r.do(s)
		}
	}
	for command := range meanings {
		if !done[command] {
			t.Errorf("the guide does not have %s", command)
		}
	}
	for _, tool := range []string{"ping", "watch", "bench", "call", "proxy"} {
		if !strings.Contains(fmt.Sprint(list), "edict "+tool) {
			t.Errorf("the guide does not have edict %s", tool)
		}
	}
	if len(list) < 18 {
		t.Errorf("only %d steps", len(list))
	}
	r.network.interrupt()
	if err := r.network.end(); err != nil {
		t.Errorf("the proxy: %v", err)
	}
	r.close()
}

// install puts the programs that the guide uses where a shell finds them.
func (r *reader) install() {
	r.t.Setenv("GOBIN", r.folder)
	r.t.Setenv("PATH", r.folder+string(os.PathListSeparator)+os.Getenv("PATH"))
	usage, _ := exec.Command("nc", "-h").CombinedOutput() // which is an error for some
	_, curl := exec.LookPath("curl")
	executable, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	for name, there := range map[string]bool{"curl": curl == nil, "nc": strings.Contains(string(usage), "-N")} {
		if there {
			continue
		}
		r.t.Logf("this machine has no %s: a stand-in", name)
		script := fmt.Sprintf("#!/bin/sh\n%s=%s exec '%s' \"$@\"\n", asProgram, name, executable)
		if err := os.WriteFile(filepath.Join(r.folder, name), []byte(script), 0o700); err != nil {
			r.t.Fatal(err)
		}
	}
}

// open starts the shop, in the first terminal, after Ctrl-C if there is one.
func (r *reader) open(s step) {
	r.t.Helper()
	if r.shop != nil {
		r.close()
	}
	r.shop = open(r.t, strings.Fields(s.command)[3:]...)
	r.shop.wait(s.command, func(output string) bool { return r.right(s, output) == nil })
}

// close is Ctrl-C in the first terminal.
func (r *reader) close() {
	r.t.Helper()
	r.shop.interrupt()
	if err := r.shop.end(); err != nil {
		r.t.Errorf("the shop: %v", err)
	}
	if said := r.shop.said(); !strings.Contains(said, "failed 0") || regexp.MustCompile(`orders: .*failed [1-9].*\|`).MatchString(said) {
		r.t.Errorf("orders have failed:\n%s", said)
	}
}

// right tells what is not right with the output of a step.
func (r *reader) right(s step, output string) error {
	if line, lacks := r.missing(s.output, output); lacks {
		return fmt.Errorf("there is no %q", line)
	}
	if meaning, ok := meanings[s.command]; ok {
		d, err := durations(output, meaning.pattern)
		if err != nil {
			return err
		}
		if !meaning.holds(d) {
			return fmt.Errorf("%v is not as it should be", d)
		}
	}
	return nil
}

// do executes a command line in a shell, again and again until what is seen is right: some things take a moment, or
// are only there at times. On a machine that has much to do the trouble that the guide has made may be over before it
// could be seen; then it is made again.
func (r *reader) do(s step) {
	r.t.Helper()
	if strings.Contains(s.command, " Crash") || strings.Contains(s.command, " Fail ") {
		r.trouble = s.command
	}
	var output string
	var wrong error
	for tried := range 4 {
		if tried > 0 && r.trouble != "" && r.trouble != s.command {
			r.shell(r.trouble)
		}
		for began := time.Now(); time.Since(began) < 10*time.Second; {
			output = r.shell(s.command)
			if wrong = r.right(s, output); wrong == nil {
				return
			}
		}
	}
	r.t.Fatalf("%s: %v\n%s\nthe shop:\n%s", s.command, wrong, output, r.shop.said())
}

// shell executes a command line in the top folder, and returns what it prints.
func (r *reader) shell(command string) string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
	defer cancel()
	shell := exec.CommandContext(ctx, "sh", "-c", r.replaced(command))
	shell.Dir = "../.."
	shell.WaitDelay = 10 * time.Second
	output, _ := shell.CombinedOutput() // some commands of the guide fail, which is seen in what they print
	return string(output)
}

// proxy starts the proxy in a terminal of its own.
func (r *reader) proxy(s step) {
	r.t.Helper()
	arguments := strings.Fields(r.replaced(s.command))
	r.network = launch(r.t, filepath.Join(r.folder, "edict"), arguments[1:]...)
	said := r.network.wait(s.command, func(output string) bool { return r.right(s, output) == nil })
	r.proxied = anAddress.FindString(said)
}

// replaced returns a command line for the ports that the test's shop has, and without what would compile it again.
func (r *reader) replaced(command string) string {
	executable, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	command = anAddress.ReplaceAllStringFunc(command, func(address string) string {
		separator := address[len("127.0.0.1") : len("127.0.0.1")+1]
		address = strings.Replace(address, separator, ":", 1)
		if address == "127.0.0.1:7409" {
			return cmp.Or(r.proxied, "127.0.0.1:0")
		}
		name, pages := strings.CutSuffix(inGuide(address), "'s pages")
		by := r.shop.edict[name]
		if pages {
			by = r.shop.web[name]
		}
		if by == "" {
			r.t.Fatalf("%s: the guide does not start anything there", address)
		}
		return strings.Replace(by, ":", separator, 1)
	})
	if r.shop != nil {
		command = strings.Replace(command, "go run ./examples/shop traces", executable+" traces -at "+r.shop.traces, 1)
	}
	return command
}
