package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	grpcbridge "github.com/edict-go/edict/bridge/grpc"
	"github.com/edict-go/edict/examples/grpc/stockpb"
)

// connection is what stubs need, and the way to close it.
type connection interface {
	grpc.ClientConnInterface
	Close() error
}

// dial connects a client over grpc or edict: the one line that a client's migration changes.
func dial(ctx context.Context, over, address string) (connection, error) {
	if over == "edict" {
		return grpcbridge.Dial(ctx, "tcp://"+address)
	}
	return grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// tally counts calls.
type tally struct {
	calls, failed atomic.Int64

	mu      sync.Mutex // guards failure
	failure error      // the first one
}

func (t *tally) count(err error) {
	t.calls.Add(1)
	if err == nil {
		return
	}
	t.failed.Add(1)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failure == nil {
		t.failure = err
	}
}

// client calls the service, again and again, until it is stopped.
type client struct {
	connection connection
	cancel     context.CancelFunc
	ended      chan struct{}
}

// startClient connects a client and starts it.
func startClient(ctx context.Context, over, address string, counted *tally) (*client, error) {
	connection, err := dial(ctx, over, address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	c := &client{connection: connection, cancel: cancel, ended: make(chan struct{})}
	go c.run(ctx, stockpb.NewStockClient(connection), counted)
	return c, nil
}

// run makes calls. Started by startClient; stop ends it, between two calls, and waits for it.
func (c *client) run(ctx context.Context, stock stockpb.StockClient, counted *tally) {
	defer close(c.ended)
	for ctx.Err() == nil {
		counted.count(callAll(context.WithoutCancel(ctx), stock))
	}
}

// stop lets the client finish its call and closes its connection.
func (c *client) stop() error {
	c.cancel()
	<-c.ended
	return c.connection.Close()
}

// callAll makes a call of each kind and looks at what comes back.
func callAll(ctx context.Context, stock stockpb.StockClient) error {
	level, err := stock.Take(ctx, &stockpb.Item{Name: "nails", Count: 1})
	if err != nil {
		return err
	}
	if level.GetName() != "nails" {
		return fmt.Errorf("took nails, and %q came", level.GetName())
	}
	if _, err := stock.Take(ctx, &stockpb.Item{Name: "hammers", Count: 1}); status.Code(err) != codes.FailedPrecondition {
		return fmt.Errorf("took a hammer that is not there: %w", errors.Join(err, errors.New("should have failed")))
	}
	stream, err := stock.List(ctx, &stockpb.Query{Prefix: "n"})
	if err != nil {
		return err
	}
	for listed := 0; ; listed++ {
		if _, err := stream.Recv(); err == io.EOF && listed == 2 {
			return nil
		} else if err != nil {
			return fmt.Errorf("after %d levels: %w", listed, err)
		}
	}
}
