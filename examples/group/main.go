package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/examples/group/commands"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "group:", err)
		os.Exit(1)
	}
}

// run is the program.
func run(ctx context.Context, arguments []string, output io.Writer) error {
	s, err := parse(arguments, output)
	if err != nil || s == nil {
		return err
	}
	out := log.New(output, "", 0) // which several goroutines can use at once
	switch {
	case s.serve != "":
		return runServer(ctx, s, out)
	case s.connect != nil:
		return runClient(ctx, s, out)
	}
	return runTour(ctx, s, out)
}

// branch is a server of the library.
type branch struct {
	*edict.Server
	name, address string
	served        chan error
}

// open starts a server.
func open(name, address string) (*branch, error) {
	server := edict.NewServer(&commands.Branch{Name: name}, commands.All)
	listener, err := server.Listen(address)
	if err != nil {
		return nil, err
	}
	address = listener.Addr().Network() + "://" + listener.Addr().String() // port 0 is another one by now
	b := &branch{Server: server, name: name, address: address, served: make(chan error, 1)}
	go func() { b.served <- server.Serve(listener) }()
	return b, nil
}

// kill ends a server at once, with all that runs.
func (b *branch) kill() error {
	return errors.Join(b.Close(), b.shutDown())
}

// shutDown ends a server when all that runs has ended.
func (b *branch) shutDown() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := b.Shutdown(ctx)
	if served := <-b.served; !errors.Is(served, edict.ErrClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// runServer serves until it is interrupted.
func runServer(ctx context.Context, s *settings, out *log.Logger) error {
	b, err := open(s.name, s.serve)
	if err != nil {
		return err
	}
	out.Printf("%s is at %s. Ctrl-C shuts it down.", s.name, b.address)
	<-ctx.Done()
	if err := b.shutDown(); err != nil {
		return err
	}
	out.Printf("%s is closed.", s.name)
	return nil
}
