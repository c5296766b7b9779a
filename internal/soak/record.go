package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/edict-go/edict"
)

// record is what a client knows of one call that has ended.
type record struct {
	id      callID
	stream  bool
	inputs  bool
	route   string // by which it went
	server  int    // the number of the server process; 0 if there was no connection
	code    edict.Code
	outcome edict.Outcome
	cut     bool // the server says that it was being executed when an earlier one ended
	leaving bool // the client was being shut down
	// When it was begun and when it had ended, in microseconds: all processes have the same clock.
	began, finished int64
	problems
}

// problems are what a client finds wrong with a call itself.
type problems struct {
	wrong bool // the result is not that of the command
	gap   bool // a stream's results are not 0, 1, 2 and so on, or too few for its good end
	late  bool // it went on long after its context had ended
	odd   bool // the error is none of those that there may be
}

// stage is how far a command came on a server.
type stage byte

const (
	started  stage = 's' // Exec was called
	returned stage = 'r' // it has come to its end
	replayed stage = 'j' // it was not called: what an earlier server had made of the command came from the journal
)

// A line of a server's log is "stage id" of a command.

func appendStage(line []byte, s stage, id callID) []byte {
	return append(strconv.AppendUint(append(line, byte(s), ' '), uint64(id), 16), '\n')
}

// A line of a client's records is "b id" for a call that begins, "e id route server code outcome began finished flags"
// for one that has ended, or "n route from to" for a route that is resumed, and had one session from a time on and at
// another another one: a client notices late, as a rule, that its server was killed.

func appendBegun(line []byte, id callID) []byte { return appendStage(line, 'b', id) }

func appendEnded(line []byte, r record) []byte {
	line = fmt.Appendf(line, "e %x %s %d %d %d %d %d ", uint64(r.id), r.route, r.server, r.code, r.outcome, r.began, r.finished)
	for _, flag := range r.flags() {
		line = append(line, map[bool]byte{false: '0', true: '1'}[*flag])
	}
	return append(line, '\n')
}

func appendSession(line []byte, route string, from, to int64) []byte {
	return fmt.Appendf(line, "n %s %d %d\n", route, from, to)
}

func (r *record) flags() []*bool {
	return []*bool{&r.stream, &r.inputs, &r.cut, &r.leaving, &r.wrong, &r.gap, &r.late, &r.odd}
}

// readRecords calls begun, ended and session with the lines of a client's records.
func readRecords(path string, begun func(callID), ended func(record), session func(route string, from, to int64)) error {
	return readLines(path, func(line string) error {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 2 && fields[0] == "b":
			id, err := parseID(fields[1])
			begun(id)
			return err
		case len(fields) == 9 && fields[0] == "e":
			r, err := parseEnded(fields)
			ended(r)
			return err
		case len(fields) == 4 && fields[0] == "n":
			from, err := strconv.ParseInt(fields[2], 10, 64)
			to, err2 := strconv.ParseInt(fields[3], 10, 64)
			session(fields[1], from, to)
			return errors.Join(err, err2)
		}
		return errors.New("malformed")
	})
}

func parseEnded(fields []string) (r record, err error) {
	var errs [7]error
	r.id, errs[0] = parseID(fields[1])
	r.route = fields[2]
	r.server, errs[1] = strconv.Atoi(fields[3])
	code, err := strconv.ParseUint(fields[4], 10, 8)
	r.code, errs[2] = edict.Code(code), err
	outcome, err := strconv.ParseUint(fields[5], 10, 8)
	r.outcome, errs[3] = edict.Outcome(outcome), err
	r.began, errs[4] = strconv.ParseInt(fields[6], 10, 64)
	r.finished, errs[5] = strconv.ParseInt(fields[7], 10, 64)
	flags := r.flags()
	if len(fields[8]) != len(flags) || strings.Trim(fields[8], "01") != "" {
		return r, errors.New("malformed")
	}
	for i, flag := range flags {
		*flag = fields[8][i] == '1'
	}
	return r, errors.Join(errs[:]...)
}

func parseID(text string) (callID, error) {
	id, err := strconv.ParseUint(text, 16, 64)
	return callID(id), err
}

// readStages calls came with each line of a server's log.
func readStages(path string, came func(stage, callID)) error {
	return readLines(path, func(line string) error {
		s, text, ok := strings.Cut(line, " ")
		if !ok || len(s) != 1 {
			return errors.New("malformed")
		}
		id, err := parseID(text)
		came(stage(s[0]), id)
		return err
	})
}

// readLines calls use with each line of a file. A last line without an end is left out: its writer was
// killed. So is a file that does not exist: its process was killed before it began.
func readLines(path string, use func(line string) error) error {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // read only
	reader := bufio.NewReaderSize(file, 1<<20)
	for number := 1; ; number++ {
		line, err := reader.ReadString('\n')
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = use(strings.TrimSuffix(line, "\n"))
		}
		if err != nil {
			return fmt.Errorf("%s:%d: %w", path, number, err)
		}
	}
}
