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
	route   string // by which it went
	server  int    // the number of the server process; 0 if there was no connection
	code    edict.Code
	outcome edict.Outcome
	problems
}

// problems are what a client finds wrong with a call itself.
type problems struct {
	wrong bool // the result is not that of the command
	gap   bool // a stream's results are not 0, 1, 2 and so on, or too few for its good end
	late  bool // it went on long after its context had ended
	odd   bool // the error is none of those that there may be
}

// A line of a server's log is the id of a command that was executed.

func appendExecuted(line []byte, id callID) []byte {
	return append(strconv.AppendUint(line, uint64(id), 16), '\n')
}

// A line of a client's records is "b id" for a call that begins, or "e id kind route server code
// outcome problems" for one that has ended.

func appendBegun(line []byte, id callID) []byte {
	return appendExecuted(append(line, 'b', ' '), id)
}

func appendEnded(line []byte, r record) []byte {
	return fmt.Appendf(line, "e %x %t %s %d %d %d %t,%t,%t,%t\n",
		uint64(r.id), r.stream, r.route, r.server, r.code, r.outcome, r.wrong, r.gap, r.late, r.odd)
}

// readRecords calls begun and ended with the lines of a client's records.
func readRecords(path string, begun func(callID), ended func(record)) error {
	return readLines(path, func(line string) error {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 2 && fields[0] == "b":
			id, err := parseID(fields[1])
			begun(id)
			return err
		case len(fields) == 8 && fields[0] == "e":
			r, err := parseEnded(fields)
			ended(r)
			return err
		}
		return errors.New("malformed")
	})
}

func parseEnded(fields []string) (r record, err error) {
	r.route = fields[3]
	var errs [7]error
	r.id, errs[0] = parseID(fields[1])
	r.stream, errs[1] = strconv.ParseBool(fields[2])
	r.server, errs[2] = strconv.Atoi(fields[4])
	code, err := strconv.ParseUint(fields[5], 10, 8)
	r.code, errs[3] = edict.Code(code), err
	outcome, err := strconv.ParseUint(fields[6], 10, 8)
	r.outcome, errs[4] = edict.Outcome(outcome), err
	found := strings.Split(fields[7], ",")
	if len(found) != 4 {
		return r, errors.New("malformed")
	}
	for i, problem := range []*bool{&r.wrong, &r.gap, &r.late, &r.odd} {
		*problem, err = strconv.ParseBool(found[i])
		errs[5] = errors.Join(errs[5], err)
	}
	return r, errors.Join(errs[:]...)
}

func parseID(text string) (callID, error) {
	id, err := strconv.ParseUint(text, 16, 64)
	return callID(id), err
}

// readExecutions calls executed with each line of a server's log.
func readExecutions(path string, executed func(callID)) error {
	return readLines(path, func(line string) error {
		id, err := parseID(line)
		executed(id)
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
