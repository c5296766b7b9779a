package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/edict-go/edict"
)

// story is what two processes have written down, client 3 and server 7.
type story struct {
	client, server ending
	calls          []record // that have ended
	begun          []callID // that have not
	executed       []callID
	replayed       []callID
	hangs          bool // executed, and nothing has returned
	session        bool // there was a new one: after something had happened, after nothing had, and where that may be
}

func (s story) audit(t *testing.T) counts {
	t.Helper()
	var records, log []byte
	for _, r := range s.calls {
		records = appendEnded(appendBegun(records, r.id), r)
	}
	if s.session {
		records = appendSession(records, "durable", 100, 200)
		records = appendSession(records, "resumed", 2001, 2100)
		records = appendSession(records, "tcp", 2001, 2100)
	}
	for _, id := range s.begun {
		records = appendBegun(records, id)
	}
	for _, id := range s.executed {
		log = appendStage(log, started, id)
		if !s.hangs {
			log = appendStage(log, returned, id)
		}
	}
	for _, id := range s.replayed {
		log = appendStage(log, replayed, id)
	}
	folder := t.TempDir()
	clients := map[int]audited{3: {filepath.Join(folder, "client"), s.client}}
	servers := map[int]audited{7: {filepath.Join(folder, "server"), s.server}, 8: {filepath.Join(folder, "none"), killed}}
	writeFile(t, clients[3].log, records)
	writeFile(t, servers[7].log, log)
	c, _, err := audit(clients, servers, map[string]promise{
		"resumed": {false, []interval{{1000, 2000}}}, "durable": {true, []interval{{100, 200}, {1000, 2000}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func writeFile(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Each thing that must not be is found, in a story that has it and nothing else.
func TestAudit(t *testing.T) {
	id := makeID(3, 1)
	other := makeID(3, 2)
	failed := func(outcome edict.Outcome) record {
		return record{id: id, route: "tcp", server: 7, code: edict.Unavailable, outcome: outcome}
	}
	good := record{id: id, route: "tcp", server: 7, outcome: edict.Executed}
	with := func(p problems) record {
		r := good
		r.problems = p
		return r
	}
	by := func(route string, r record, began, finished int64) record {
		r.route, r.began, r.finished = route, began, finished
		return r
	}
	cut, leaving := failed(edict.OutcomeUnknown), failed(edict.OutcomeUnknown)
	cut.code, cut.cut, leaving.leaving = edict.Aborted, true, true
	inputs := failed(edict.OutcomeUnknown)
	inputs.inputs = true
	one, twice := []callID{id}, []callID{id, id}
	for name, test := range map[string]struct {
		story
		wrong string // the label of the row that must be 0 and is not; "" is none
		want  counts
	}{
		"all is well":          {story{drained, drained, []record{good}, nil, one, nil, false, false}, "", counts{Good: 1}},
		"stream":               {story{drained, drained, []record{{id: id, stream: true, route: "wire", outcome: edict.Executed}}, nil, one, nil, false, false}, "", counts{Good: 1, Streams: 1}},
		"failed":               {story{drained, drained, []record{failed(edict.Executed)}, nil, one, nil, false, false}, "", counts{Failed: 1}},
		"not sent":             {story{drained, drained, []record{failed(edict.NotSent)}, nil, nil, nil, false, false}, "", counts{NotSent: 1}},
		"refused":              {story{drained, drained, []record{failed(edict.Refused)}, nil, nil, nil, false, false}, "", counts{Refused: 1}},
		"unknown, ran":         {story{drained, killed, []record{failed(edict.OutcomeUnknown)}, nil, one, nil, false, false}, "", counts{UnknownRan: 1}},
		"unknown, did not":     {story{drained, killed, []record{failed(edict.OutcomeUnknown)}, nil, nil, nil, false, false}, "", counts{UnknownNot: 1}},
		"client killed":        {story{killed, drained, nil, one, one, nil, false, false}, "", counts{Gone: 1}},
		"lost":                 {story{drained, drained, nil, one, one, nil, false, false}, "lost: never ended", counts{Lost: 1}},
		"lost, client hangs":   {story{crashed, drained, nil, one, nil, nil, false, false}, "lost: never ended", counts{Lost: 1}},
		"success, not run":     {story{drained, drained, []record{good}, nil, nil, nil, false, false}, "success without execution", counts{Good: 1, Unexecuted: 1}},
		"twice":                {story{drained, drained, []record{good}, nil, twice, nil, false, false}, "executed twice", counts{Good: 1, Twice: 1}},
		"twice, unknown":       {story{drained, killed, []record{failed(edict.OutcomeUnknown)}, nil, twice, nil, false, false}, "executed twice", counts{UnknownRan: 1, Twice: 1}},
		"not sent, ran":        {story{drained, drained, []record{failed(edict.NotSent)}, nil, one, nil, false, false}, "not sent, but executed", counts{NotSent: 1, NotSentRan: 1}},
		"refused, ran":         {story{drained, drained, []record{failed(edict.Refused)}, nil, one, nil, false, false}, "refused, but executed", counts{Refused: 1, RefusedRan: 1}},
		"executed, not run":    {story{drained, drained, []record{failed(edict.Executed)}, nil, nil, nil, false, false}, "failed as executed, but was not", counts{Failed: 1, ExecutedNot: 1}},
		"unasked":              {story{drained, drained, []record{good}, nil, []callID{id, other}, nil, false, false}, "executed, but nobody called", counts{Good: 1, Unasked: 1}},
		"out of the blue":      {story{drained, drained, []record{good}, nil, []callID{id, makeID(99, 1<<31)}, nil, false, false}, "executed, but nobody called", counts{Good: 1, Unasked: 1}},
		"ended twice":          {story{drained, drained, []record{good, good}, nil, one, nil, false, false}, "ended twice", counts{Good: 1, EndedTwice: 1}},
		"wrong":                {story{drained, drained, []record{with(problems{wrong: true})}, nil, one, nil, false, false}, "wrong results", counts{Good: 1, Wrong: 1}},
		"gap":                  {story{drained, drained, []record{with(problems{gap: true})}, nil, one, nil, false, false}, "gaps in streams", counts{Good: 1, Gaps: 1}},
		"late":                 {story{drained, drained, []record{with(problems{late: true})}, nil, one, nil, false, false}, "late: outlived their context", counts{Good: 1, Late: 1}},
		"odd":                  {story{drained, drained, []record{with(problems{odd: true})}, nil, one, nil, false, false}, "errors that must not be", counts{Good: 1, Odd: 1}},
		"hangs":                {story{drained, drained, []record{good}, nil, one, nil, true, false}, "answered before its end", counts{Good: 1, Unfinished: 1}},
		"replayed":             {story{drained, killed, []record{by("durable", good, 0, 5000)}, nil, one, one, false, false}, "", counts{Good: 1, Replays: 1}},
		"resumed":              {story{drained, killed, []record{by("resumed", failed(edict.OutcomeUnknown), 1500, 1600)}, nil, one, nil, false, false}, "", counts{UnknownRan: 1}},
		"torn early":           {story{drained, killed, []record{by("resumed", failed(edict.OutcomeUnknown), 500, 999)}, nil, one, nil, false, false}, "resumed route, cut off for nothing", counts{UnknownRan: 1, Torn: 1}},
		"torn late":            {story{drained, killed, []record{by("resumed", failed(edict.OutcomeUnknown), 2001, 2500)}, nil, one, nil, false, false}, "resumed route, cut off for nothing", counts{UnknownRan: 1, Torn: 1}},
		"durable":              {story{drained, killed, []record{by("durable", cut, 150, 300)}, nil, one, nil, true, false}, "", counts{UnknownRan: 1, CutUnknown: 1}},
		"durable, for nothing": {story{drained, killed, []record{by("durable", cut, 300, 400)}, nil, one, nil, true, false}, "resumed route, cut off for nothing", counts{UnknownRan: 1, CutUnknown: 1, Torn: 1}},
		"durable, lost":        {story{drained, killed, []record{by("durable", failed(edict.OutcomeUnknown), 150, 300)}, nil, one, nil, false, false}, "journal, and yet cut off", counts{UnknownRan: 1, Forgotten: 1}},
		"durable, shut down":   {story{drained, killed, []record{by("durable", leaving, 300, 400)}, nil, one, nil, false, false}, "", counts{UnknownRan: 1}},
		"stranger":             {story{drained, drained, []record{good}, nil, one, nil, false, true}, "sessions lost for nothing", counts{Good: 1, Strangers: 1}},
		"inputs, lost":         {story{drained, killed, []record{by("durable", inputs, 150, 300)}, nil, one, nil, false, false}, "", counts{UnknownRan: 1}},
		"cut off":              {story{drained, drained, []record{failed(edict.OutcomeUnknown)}, nil, one, nil, false, false}, "cut off, though the server ended well", counts{UnknownRan: 1, CutOff: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			got := test.audit(t)
			want := test.want
			want.Begun += len(test.calls) + len(test.begun)
			want.Ended += len(test.calls) - want.EndedTwice
			want.Executions += len(test.executed)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
			var failed []string
			for _, r := range got.rows() {
				if r.failed() {
					failed = append(failed, r.label)
				}
			}
			if strings.Join(failed, "; ") != test.wrong {
				t.Errorf("the table objects to %q, want %q", failed, test.wrong)
			}
		})
	}
}

// What a process that was killed wrote last may be half a line.
func TestRecordsThatEndInTheMiddle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records")
	want := record{
		id: makeID(3, 9), stream: true, route: "proxied-tls", server: 12, code: edict.Unavailable,
		outcome: edict.NotSent, cut: true, began: 1 << 50, finished: 1<<50 + 1, problems: problems{wrong: true, late: true},
	}
	whole := appendEnded(appendBegun(nil, want.id), want)
	for cut := range whole {
		writeFile(t, path, append(append([]byte(nil), whole...), whole[:cut]...))
		var begun []callID
		var ended []record
		err := readRecords(path, func(id callID) { begun = append(begun, id) }, func(r record) { ended = append(ended, r) }, nil)
		if err != nil || len(begun) == 0 || begun[0] != want.id || len(ended) == 0 || ended[0] != want {
			t.Fatalf("cut after %d bytes: %v, %+v, %v", cut, begun, ended, err)
		}
	}
	for _, malformed := range []string{"x\n", "b\n", "n tcp 1 x\n", "n tcp 1\n", "b not-hexadecimal\n", "e 1 tcp\n", "e 1 tcp 1 0 3 5 6 0010000x\n", "e 1 tcp 1 0 3 5 6 001000\n", "e 1 tcp 1 0 3 5 x 00100000\n"} {
		writeFile(t, path, []byte(malformed))
		if err := readRecords(path, func(callID) {}, func(record) {}, func(string, int64, int64) {}); err == nil {
			t.Errorf("%q is accepted", malformed)
		}
	}
}
