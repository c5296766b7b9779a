package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/edict-go/edict"
)

// What edict ends with. The help of the root command tells them too.
const (
	exitFine    = 0
	exitOther   = 1 // what is none of the others
	exitUsage   = 2 // a flag, an argument or a body that is wrong
	exitConnect = 3 // the server can't be reached, or would not have us
	exitCall    = 4 // the call has failed
	exitLock    = 5 // a command has changed in a way that breaks others
)

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// failure is an error with the exit code that belongs to it.
type failure struct {
	code int
	error
}

func (f failure) Unwrap() error { return f.error }

func failed(code int, err error) error {
	if err == nil {
		return nil
	}
	return failure{code, err}
}

func usagef(format string, arguments ...any) error {
	return failure{exitUsage, fmt.Errorf(format, arguments...)}
}

// application is what all subcommands share: the flags of the root command.
type application struct {
	streams
	connection connectionFlags
	asJSON     bool
	timeout    time.Duration
}

// run executes a command line and returns the exit code. It ends, orderly, when ctx does.
func run(ctx context.Context, arguments []string, s streams) int {
	a := &application{streams: s}
	root := a.root()
	root.SetArgs(arguments)
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitFine
	}
	code := exitUsage // cobra's own errors are about flags and arguments
	if f, ok := errors.AsType[failure](err); ok {
		code = f.code
	}
	a.report(err)
	if code == exitUsage && !a.asJSON {
		fmt.Fprintln(s.err, "edict: see --help")
	}
	return code
}

func (a *application) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "edict",
		Short: "Look at Edict servers, and call their commands",
		Long: `edict looks at Edict servers, and calls their commands.

An ADDRESS is host:port, tcp://host:port, tls://host:port or unix:///path. To list and call commands the
server needs the option edict.WithReflection() and the codec json; for watch, edict.WithRemoteStats().

Exit codes:
  0  all is fine
  1  something else went wrong
  2  a flag, an argument or a body is wrong
  3  the server can't be reached, or would not have us
  4  the call has failed
  5  a command has changed in a way that breaks others (lock)`,
		Example: `  edict ping 127.0.0.1:9000
  edict commands 127.0.0.1:9000
  edict call 127.0.0.1:9000 Add '{"A":2,"B":3}'
  edict watch tls://shop.example:9000 --tls-ca ca.pem --token-file token`,
		SilenceUsage: true, SilenceErrors: true,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error { return command.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return failure{exitUsage, err} })
	flags := root.PersistentFlags()
	flags.BoolVar(&a.asJSON, "json", false, "write JSON, one object a line, for programs")
	flags.DurationVar(&a.timeout, "timeout", 10*time.Second, "how long connecting may take, and a call; 0 is for ever")
	a.connection.add(flags)
	root.AddCommand(a.pingCommand(), a.infoCommand(), a.commandsCommand(), a.callCommand(), a.watchCommand(),
		a.benchCommand(), a.proxyCommand(), a.lockCommand())
	return root
}

// within returns ctx with the timeout that the flags ask for.
func (a *application) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if a.timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, a.timeout)
}

// problem is an error in JSON.
type problem struct {
	Code    string `json:"code,omitempty"`
	Outcome string `json:"outcome,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Command string `json:"command,omitempty"`
	Message string `json:"message"`
}

// report writes an error: for people a line, with what it says of the call.
func (a *application) report(err error) {
	p := problem{Message: err.Error()}
	e, coded := errors.AsType[*edict.Error](err)
	if coded {
		p = problem{Code: e.Code.String(), Outcome: e.Outcome.String(), Reason: e.Reason, Command: e.Command, Message: e.Message}
	}
	if a.asJSON {
		encoded, _ := json.Marshal(map[string]problem{"error": p}) // of texts
		fmt.Fprintf(a.err, "%s\n", encoded)
		return
	}
	text := strings.TrimPrefix(err.Error(), "edict: ")
	if coded { // it may be the server's
		text = clean(text)
	}
	if coded && !strings.HasSuffix(text, p.Outcome+")") {
		text += " (" + p.Outcome + ")"
	}
	fmt.Fprintln(a.err, "edict:", text)
}

// write writes a value in JSON, on a line.
func (a *application) write(value any) error {
	encoded, err := json.Marshal(value)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "%s\n", encoded)
	return err
}

// isTerminal reports whether people look at what is written there.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
