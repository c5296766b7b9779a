package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/edict-go/edict"
)

// direct are the routes on which nothing but processes fails. If the server has drained well in the end,
// no call by them may have lost its connection.
var direct = []string{"steady", "tcp", "tls", "unix"}

// counts are what came of the calls. Those of the second group must be 0.
type counts struct {
	Begun, Ended int
	Gone         int // had not ended when their process was killed
	Good         int
	Failed       int // Executed, with an error
	NotSent      int
	Refused      int
	UnknownRan   int // Unknown, and executed
	UnknownNot   int // Unknown, and not executed
	Streams      int
	Executions   int
	Replays      int // answered from a journal
	CutUnknown   int // Unknown, because a server was killed that had a journal

	Lost        int // did not end, although the process did, in order
	Unexecuted  int // a success that was not executed
	Twice       int // executed more than once
	NotSentRan  int // NotSent, and executed
	RefusedRan  int // Refused, and executed
	ExecutedNot int // failed as Executed, and not executed
	Unasked     int // executed, and nobody called
	EndedTwice  int
	Wrong       int // see problems
	Gaps        int
	Late        int
	Odd         int
	CutOff      int // outcome unknown by a direct route, whose server drained well
	Unfinished  int // answered as executed, and Exec had not returned
	Torn        int // outcome unknown by a route that is resumed, and nothing had happened to its server
	Strangers   int // sessions by a route that is resumed, after another one and though nothing had happened to its server
	Forgotten   int // outcome unknown for a lost connection, and the server has a journal
}

// ledgerEntry is what is known of one call.
type ledgerEntry struct {
	begun, ended bool
	code         edict.Code
	outcome      edict.Outcome
	executions   uint8
	returned     bool
}

// books has the calls of all processes, by process and number.
type books struct {
	counts
	calls    map[int][]ledgerEntry
	promises map[string]promise // by route
	unknown  map[string]int     // calls of which their callers don't know what became, by route
}

// promise is what a route must keep whose connections are resumed.
type promise struct {
	durable   bool       // its server has a journal
	disturbed []interval // when something was done to its server
}

// entry returns the entry of a call, or nil for an id that no client can have given.
func (b *books) entry(id callID) *ledgerEntry {
	process, call := int(id>>32), int(uint32(id))
	entries := b.calls[process]
	if call > len(entries)+maxAhead {
		return nil
	}
	for len(entries) <= call {
		entries = append(entries, ledgerEntry{})
	}
	b.calls[process] = entries
	return &entries[call]
}

// maxAhead is how far a call may be ahead of those before it in the records: callers are not in step.
const maxAhead = 1 << 20

// audit compares the records of the clients with the logs of the servers; both are by the number of
// the process. promises are by route, and so is how many calls ended Unknown.
func audit(clients, servers map[int]audited, promises map[string]promise) (c counts, unknown map[string]int, err error) {
	b := &books{calls: map[int][]ledgerEntry{}, promises: promises, unknown: map[string]int{}}
	for _, client := range clients {
		err := readRecords(client.log, b.begin, func(r record) { b.end(r, servers[r.server].ending == drained) }, b.newSession)
		if err != nil {
			return b.counts, nil, err
		}
	}
	for _, server := range servers {
		if err := readStages(server.log, b.come); err != nil {
			return b.counts, nil, err
		}
	}
	for process, entries := range b.calls {
		for _, entry := range entries {
			b.close(entry, clients[process].ending)
		}
	}
	return b.counts, b.unknown, nil
}

// audited is what audit needs to know of a process.
type audited struct {
	log    string
	ending ending
}

func (b *books) begin(id callID) {
	if entry := b.entry(id); entry != nil {
		entry.begun = true
		b.Begun++
	}
}

func (b *books) end(r record, drained bool) {
	entry := b.entry(r.id)
	if entry == nil {
		return
	}
	if entry.ended {
		b.EndedTwice++
		return
	}
	entry.ended, entry.code, entry.outcome = true, r.code, r.outcome
	b.Ended++
	if r.outcome == edict.OutcomeUnknown && r.code != 0 {
		b.unknown[r.route]++
	}
	if r.stream {
		b.Streams++
	}
	for _, problem := range []struct {
		found bool
		count *int
	}{{r.wrong, &b.Wrong}, {r.gap, &b.Gaps}, {r.late, &b.Late}, {r.odd, &b.Odd}} {
		if problem.found {
			*problem.count++
		}
	}
	if drained && r.code == edict.Unavailable && r.outcome == edict.OutcomeUnknown && slices.Contains(direct, r.route) {
		b.CutOff++
	}
	b.judge(r)
}

// judge looks at what must not be on a route that is resumed: an outcome that is not known. A client that is being
// shut down does not resume.
func (b *books) judge(r record) {
	promise, ok := b.promises[r.route]
	lost := r.code == edict.Unavailable
	if !ok || r.outcome != edict.OutcomeUnknown || !lost && !r.cut || r.leaving {
		return
	}
	count(&b.CutUnknown, r.cut)
	switch {
	case !promise.wasDisturbed(r.began, r.finished):
		b.Torn++
	case promise.durable && lost && !r.inputs: // inputs are not in the journal
		b.Forgotten++
	}
}

func (p *promise) wasDisturbed(from, to int64) bool {
	return slices.ContainsFunc(p.disturbed, func(i interval) bool { return i.overlaps(from, to) })
}

func (b *books) newSession(route string, from, to int64) {
	promise, ok := b.promises[route]
	count(&b.Strangers, ok && !promise.wasDisturbed(from, to))
}

// come notes how far a command has come.
func (b *books) come(s stage, id callID) {
	entry := b.entry(id)
	switch {
	case s == replayed:
		b.Replays++
		return
	case s == returned:
		if entry != nil {
			entry.returned = true
		}
		return
	}
	b.Executions++
	if entry == nil || !entry.begun {
		b.Unasked++
		return
	}
	if entry.executions++; entry.executions == 2 {
		b.Twice++
	}
}

// close judges a call.
func (b *books) close(e ledgerEntry, process ending) {
	executed := e.executions > 0
	switch {
	case !e.begun:
	case !e.ended && process == killed:
		b.Gone++
	case !e.ended:
		b.Lost++
	case e.code == 0:
		b.Good++
		count(&b.Unexecuted, !executed)
		count(&b.Unfinished, executed && !e.returned)
	case e.outcome == edict.Executed:
		b.Failed++
		count(&b.ExecutedNot, !executed)
		count(&b.Unfinished, executed && !e.returned)
	case e.outcome == edict.NotSent:
		b.NotSent++
		count(&b.NotSentRan, executed)
	case e.outcome == edict.Refused:
		b.Refused++
		count(&b.RefusedRan, executed)
	default:
		count(&b.UnknownRan, executed)
		count(&b.UnknownNot, !executed)
	}
}

func count(counter *int, really bool) {
	if really {
		*counter++
	}
}

// row is a line of the table.
type row struct {
	label  string
	value  any
	mustBe bool // 0
}

// failed reports whether the row has something that must not be.
func (r row) failed() bool { return r.mustBe && r.value != 0 }

func (c counts) rows() []row {
	return []row{
		{"calls", c.Begun, false},
		{"  of these streams", c.Streams, false},
		{"ended", c.Ended, false},
		{"  well", c.Good, false},
		{"  failed, executed", c.Failed, false},
		{"  not sent", c.NotSent, false},
		{"  refused", c.Refused, false},
		{"  unknown, was executed", c.UnknownRan, false},
		{"  unknown, was not executed", c.UnknownNot, false},
		{"gone with their process", c.Gone, false},
		{"executions", c.Executions, false},
		{"answered from a journal", c.Replays, false},
		{"unknown, its server was killed", c.CutUnknown, false},
		{"lost: never ended", c.Lost, true},
		{"success without execution", c.Unexecuted, true},
		{"executed twice", c.Twice, true},
		{"not sent, but executed", c.NotSentRan, true},
		{"refused, but executed", c.RefusedRan, true},
		{"failed as executed, but was not", c.ExecutedNot, true},
		{"executed, but nobody called", c.Unasked, true},
		{"ended twice", c.EndedTwice, true},
		{"wrong results", c.Wrong, true},
		{"gaps in streams", c.Gaps, true},
		{"late: outlived their context", c.Late, true},
		{"errors that must not be", c.Odd, true},
		{"cut off, though the server ended well", c.CutOff, true},
		{"answered before its end", c.Unfinished, true},
		{"resumed route, cut off for nothing", c.Torn, true},
		{"sessions lost for nothing", c.Strangers, true},
		{"journal, and yet cut off", c.Forgotten, true},
	}
}

// conclude prints the table and reports whether all that must be 0 is.
func (d *driver) conclude(unrecovered []string) (passed bool, err error) {
	clients, servers := map[int]audited{}, map[int]audited{}
	endings := map[string]int{}
	var leakedGoroutines, leakedFiles, crashes, overgrown int
	var resumed, resent uint64
	var journals []row
	remembered := map[string]int{} // commands, by the name of the server whose journal remembers them
	for _, p := range d.processes {
		state, last, progress := p.state()
		target := clients
		if p.role == "server" {
			target = servers
		}
		target[p.config.Number] = audited{p.config.Log, state}
		endings[p.role+"s "+string(state)]++
		if state == crashed {
			crashes++
			d.say("%v crashed: %s", p, p.errorText())
		}
		resumed += progress.Resumed
		for _, calls := range progress.Resent {
			resent += calls
		}
		if last != nil {
			if j := last.Journal; j != nil {
				remembered[p.config.Journal] = j.Commands // of the last one of its servers
				journals = append(journals, row{fmt.Sprintf("journal of %v", p), fmt.Sprintf("%+v", *j), false})
			}
			leakedGoroutines += max(0, last.After.Goroutines-last.Before.Goroutines)
			leakedFiles += max(0, last.After.Files-last.Before.Files)
		}
	}
	promises := map[string]promise{}
	for name, s := range d.servers {
		promises[name] = promise{s.base.Journal != "", s.disturbed}
	}
	c, unknown, err := audit(clients, servers, promises)
	if err != nil {
		return false, err
	}
	for file, commands := range remembered {
		overgrown += max(0, commands-d.mayRemember(file, unknown))
	}
	rows := append(c.rows(), journals...)
	rows = append(rows,
		row{"connections resumed", resumed, false},
		row{"calls sent to a server again", resent, false},
		row{"commands that a journal did not forget", overgrown, true},
		row{"processes that crashed", crashes, true},
		row{"leaked goroutines", leakedGoroutines, true},
		row{"leaked files", leakedFiles, true},
		row{"routes that did not recover", len(unrecovered), true},
		row{"problems of the run", len(d.problems), true},
	)
	for _, name := range sortedKeys(endings) {
		rows = append(rows, row{name, endings[name], false})
	}
	missing := 0
	for _, name := range sortedKeys(d.planned) {
		if d.fired[name] == 0 {
			missing++
		}
		rows = append(rows, row{"fault: " + name, fmt.Sprintf("%d of %d", d.fired[name], d.planned[name]), false})
	}
	rows = append(rows, row{"kinds of fault that never happened", missing, true})
	if d.wire != nil {
		w := d.wire.count()
		rows = append(rows, row{"packets on the wire", fmt.Sprintf("%d carried, %d lost, %d doubled, %d late, %d partitioned",
			w.Carried, w.Lost, w.Doubled, w.Late, w.Cut), false})
	}
	grown := 0
	for _, s := range []*slot{d.steadyServer, d.steadyClient} {
		_, last, _ := s.current.state()
		if last == nil {
			continue
		}
		count(&grown, last.After.Heap > last.Before.Heap+maxGrowth)
		rows = append(rows, row{"steady " + s.role, describe(*last), false})
	}
	rows = append(rows, row{"steady processes whose heap has grown", grown, true})

	passed = true
	fmt.Fprintln(d.output)
	for _, r := range rows {
		note := ""
		if r.mustBe {
			note = "  ok"
		}
		if r.failed() {
			note, passed = "  MUST BE 0", false
		}
		fmt.Fprintf(d.output, "%-40s %v%s\n", r.label, r.value, note)
	}
	fmt.Fprintln(d.output)
	if !passed {
		fmt.Fprintf(d.output, "FAILED: seed %d, logs in %s\n", d.seed, d.folder)
	}
	return passed, nil
}

// mayRemember returns how many commands a journal may remember in the end. Of each client that it had, these are:
//
//   - those that it was not told yet that they can be forgotten: less than 64;
//   - when the client ends, also those that are in flight, and those that it was told in a FORGET that has not come; the answers to
//     both were in flight together at some time. As long as it goes on it says them again on its next connection;
//   - those that were sent twice, which must not be forgotten. A client that was killed has not reported the last ones, which
//     were in flight once;
//   - those that the client has given up, if FORGET overtakes them on the server, where they wait for their turn: part of
//     those that ended Unknown.
func (d *driver) mayRemember(file string, unknown map[string]int) int {
	most := 0
	for name, server := range d.servers {
		if server.base.Journal != file {
			continue
		}
		most += unknown[name]
		for _, p := range d.processes {
			lines := len(p.config.Routes)
			if !slices.ContainsFunc(p.config.Routes, func(r route) bool { return r.Name == name }) {
				continue
			}
			_, _, progress := p.state()
			inFlight := (p.config.Callers + lines - 1) / lines * maxBurst
			most += 64 + 3*inFlight + int(progress.Resent[name])
		}
	}
	return most
}

// maxGrowth is by how much the live heap of a steady process may differ after it has drained: what its
// pools and tables keep does not depend on the length of the run.
const maxGrowth = 8 << 20

// describe says what a process used before its first connection and after its drain.
func describe(f final) string {
	before, after := f.Before, f.After
	return fmt.Sprintf("goroutines %d to %d, files %d to %d, heap %.1f to %.1f MB, resident %.1f to %.1f MB",
		before.Goroutines, after.Goroutines, before.Files, after.Files,
		float64(before.Heap)/1e6, float64(after.Heap)/1e6, float64(before.Resident)/1e6, float64(after.Resident)/1e6)
}

func sortedKeys(m map[string]int) []string {
	var keys []string
	for key := range m {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, strings.Compare)
	return keys
}
