package edict_test

import (
	"context"
	"testing"

	"github.com/edict-go/edict"
)

type Calc struct{}

type Add struct{ A, B int }

func (c Add) Exec(ctx context.Context, calc *Calc) (int, error) { return c.A + c.B, nil }

type Count struct{ To int }

func (c Count) Exec(ctx context.Context, calc *Calc, out edict.Sink[int]) error {
	for i := range c.To {
		if err := out.Send(i); err != nil {
			return err
		}
	}
	return nil
}

var commands = edict.Commands(edict.Unary[Add](), edict.ServerStream[Count]())

func TestSmoke(t *testing.T) {
	srv := edict.NewServer(&Calc{}, commands)
	l, err := srv.Listen("tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(l)
	ctx := t.Context()
	c, err := edict.Dial(ctx, "tcp://"+l.Addr().String(), commands)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := edict.Call(ctx, c, Add{2, 3})
	if err != nil || sum != 5 {
		t.Fatal(sum, err)
	}
	n := 0
	for r, err := range edict.Stream(ctx, c, Count{To: 100000}) {
		if err != nil || r != n {
			t.Fatal(r, n, err)
		}
		n++
	}
	if n != 100000 {
		t.Fatal(n)
	}
	if err := srv.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	t.Log(c.Err())
}
