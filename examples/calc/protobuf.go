package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/examples/calc/calcpb"
	"github.com/edict-go/edict/examples/calc/commands"
)

// tourProtobuf is tour with protocol buffers. The calls are the same; commands and results are
// pointers to generated messages.
func tourProtobuf(ctx context.Context, client *edict.Client[*commands.Calc], out io.Writer) error {
	begin := time.Now()
	sum, err := edict.Call(ctx, client, &calcpb.Add{A: 2, B: 3})
	if err != nil {
		return err
	}
	report(out, "Add{2, 3}", begin, "%d", sum.Value)

	begin = time.Now()
	var primes []int64
	for prime, err := range edict.Stream(ctx, client, &calcpb.Primes{UpTo: 30}) {
		if err != nil {
			return err
		}
		primes = append(primes, prime.Value)
	}
	report(out, "Primes{30}", begin, "%d", primes)

	begin = time.Now()
	first, err := edict.Start(ctx, client, &calcpb.Wait{For: durationpb.New(20 * time.Millisecond)})
	if err != nil {
		return err
	}
	second, err := edict.Start(ctx, client, &calcpb.Add{A: 20, B: 30})
	if err != nil {
		return err
	}
	waited, err := first.Receive()
	if err != nil {
		return err
	}
	sum, err = second.Receive()
	if err != nil {
		return err
	}
	report(out, "Wait{20ms}, Add{20, 30}", begin, "%v and %d, both in flight at once", waited.AsDuration(), sum.Value)

	begin = time.Now()
	_, err = edict.Call(ctx, client, &calcpb.Divide{A: 7, B: 0})
	if !errors.Is(err, commands.ErrDivisionByZero) {
		return fmt.Errorf("Divide{7, 0}: ErrDivisionByZero is wanted, not %w", err)
	}
	reportError(out, "Divide{7, 0}", begin, err)

	begin = time.Now()
	soon, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	_, err = edict.Call(soon, client, &calcpb.Wait{For: durationpb.New(time.Minute)})
	if !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("Wait{1m}: a deadline of 50ms should have passed, not %w", err)
	}
	reportError(out, "Wait{1m}, deadline 50ms", begin, err)

	begin = time.Now()
	var callers sync.WaitGroup
	failures := make(chan error, burstCallers)
	for range burstCallers {
		callers.Go(func() {
			for i := range int64(burstCalls / burstCallers) {
				if sum, err := edict.Call(ctx, client, &calcpb.Add{A: i, B: i}); err != nil || sum.Value != 2*i {
					failures <- fmt.Errorf("the sum of %d and %d: %v, error %v", i, i, sum, err)
					return
				}
			}
		})
	}
	callers.Wait()
	reportBurst(out, "Add", begin)
	close(failures)
	return <-failures
}
