package main

import (
	"context"
	"errors"
	"log"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/examples/ticker/commands"
)

const (
	// window is how many bytes of each stream may be under way: a few ticks. With the default of
	// 16 KiB at least a slow reader would be hundreds of ticks behind before any are merged.
	window = 1 << 10

	fastReads = 1000 // ticks that the fast reader takes
	each      = 100  // after so many of them the slow reader takes some
	slowReads = 5
)

// runClient reads the prices twice over one connection, quickly and slowly. Then it shuts the server
// down, or waits for it to be if it is not ours, and reads the slow stream to its end.
func runClient(ctx context.Context, s *settings, out *log.Logger, shutdown func() error) error {
	client, err := edict.Dial(ctx, s.connect, commands.All, edict.WithCodecs(s.codec), edict.ClientConfig{Window: window})
	if err != nil {
		return err
	}
	defer client.Close()
	out.Printf("Connected to %s with the codec %s.\n\n", s.connect, client.Peer().Codec)

	slow, err := edict.StartStream(ctx, client, commands.Subscribe{Reader: "slow"})
	if err != nil {
		return err
	}
	if err := compare(ctx, client, slow, out); err != nil {
		return err
	}

	stopped := make(chan error, 1)
	if shutdown != nil {
		go func() { stopped <- shutdown() }()
	} else {
		stopped <- nil
		out.Print("The slow reader reads quickly now, until the server shuts down: press Ctrl-C there.")
	}
	var last commands.Tick
	read, merged := 0, 0
	for tick, err := range slow.Results() {
		if err != nil && ctx.Err() != nil {
			return nil // Ctrl-C here
		}
		if err != nil {
			return errors.Join(err, <-stopped)
		}
		last = tick
		read++
		merged += tick.Merged
	}
	out.Printf("The slow stream has come to its end: %d ticks more, %d merged, the last is tick %d: %v.", read, merged, last.Number, last)
	return <-stopped
}

// compare prints how far a fast and the slow reader are, until the fast one has read enough.
func compare(ctx context.Context, client *edict.Client[*commands.Market], slow *edict.Invocation[commands.Tick], out *log.Logger) error {
	out.Print("  fast:  read     at tick   merged     slow:  read     at tick   merged")
	read, merged := 0, 0
	slowRead, slowMerged := 0, 0
	for tick, err := range edict.Stream(ctx, client, commands.Subscribe{Reader: "fast"}) {
		if err != nil {
			return err
		}
		read++
		merged += tick.Merged
		if read%each > 0 {
			continue
		}
		var slowTick commands.Tick
		for range slowReads {
			if slowTick, err = slow.Receive(); err != nil {
				return err
			}
			slowRead++
			slowMerged += slowTick.Merged
		}
		out.Printf("%13d%12d%9d%17d%12d%9d", read, tick.Number, merged, slowRead, slowTick.Number, slowMerged)
		if read == fastReads {
			break // ends the command on the server
		}
	}
	// The slow stream is still full, and in nobody's way.
	price, err := edict.Call(ctx, client, commands.Price{Symbol: "ABC"})
	if err != nil {
		return err
	}
	out.Printf("\nThe fast reader has left its loop. A call beside the slow stream: %v at tick %d.", price, price.Number)
	return nil
}
