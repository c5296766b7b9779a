package simulation

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/codec"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/delegate"
	"github.com/edict-go/edict/edicttest"
	"github.com/edict-go/edict/transport"
)

// A CANCEL that was on its way when its call ended may come behind the next COMMAND of the same slot: a
// goroutine that cancels can be overtaken. It must not touch that call. The driver does not come
// here, because it lets goroutines race in no step, so here are the bare frames.
func TestFrameOfAnEarlierGenerationIsIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := edicttest.New(edicttest.Config{})
		listener, err := network.Listen("server")
		if err != nil {
			t.Fatal(err)
		}
		l := newLab()
		server := edict.NewServer(l, commands, edict.ServerConfig{Window: 100}, edict.WithCodecs(plain{"a"}), edict.WithLogger(slog.New(slog.DiscardHandler)))
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()

		raw, err := network.Dial(t.Context(), "server")
		if err != nil {
			t.Fatal(err)
		}
		conn := transport.NewConn(raw, transport.Config{})
		definition, index := commands.At(0), -1
		for i := range commands.Len() {
			if commands.At(i).Name() == "list" {
				definition, index = commands.At(i), i
			}
		}
		if index < 0 {
			t.Fatal("there is no command list")
		}
		_, err = delegate.Connect(t.Context(), conn, delegate.Config{
			Codecs: []string{"a"}, Window: 1,
			Commands: []delegate.Command{{Name: definition.Name(), Shape: definition.Shape()}},
		})
		if err != nil {
			t.Fatal(err)
		}
		body, err := codec.Codec(plain{}).Append(nil, list{Call: 1})
		if err != nil {
			t.Fatal(err)
		}
		const slot = 0
		now, before := core.MakeSequence(slot, 8), core.MakeSequence(slot, 7)
		post := func(frame core.Frame) {
			t.Helper()
			if err := conn.Post(frame); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		post(core.Frame{Kind: core.KindCommand, Flags: core.FlagStream, Sequence: now, Body: body})
		post(core.Frame{Kind: core.KindCancel, Sequence: before})
		r := l.runs[1]
		if r == nil || r.ctx.Err() != nil {
			t.Fatalf("a CANCEL for %v reached the command of %v", before, now)
		}
		for range 2 { // the second one waits for credit
			r.orders <- order{kind: orderSend, size: 10}
			synctest.Wait()
		}
		post(core.Frame{Kind: core.KindCredit, Sequence: before, Body: core.CreditBody(1000)})
		if r.state != sending {
			t.Errorf("a CREDIT for %v reached the command of %v", before, now)
		}
		post(core.Frame{Kind: core.KindCancel, Sequence: now})
		if r.ctx.Err() == nil || r.state != resting {
			t.Errorf("a CANCEL for %v did not reach its command", now)
		}
		r.orders <- order{kind: orderFinish}
		conn.Close(nil)
		conn.Wait()
		_ = server.Close()
		if err := server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		<-served
	})
}
