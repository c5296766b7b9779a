package main

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/spf13/cobra"

	"github.com/edict-go/edict"
)

// pings are the round trips of a ping, and what came of them. Durations are in nanoseconds in JSON.
type pings struct {
	Sent     int           `json:"sent"`
	Answered int           `json:"answered"`
	Least    time.Duration `json:"min_ns"`
	Mean     time.Duration `json:"avg_ns"`
	Most     time.Duration `json:"max_ns"`
	Spread   time.Duration `json:"stddev_ns"`
	took     []time.Duration
}

func (p *pings) settle() {
	p.Answered = len(p.took)
	if p.Answered == 0 {
		return
	}
	p.Least = p.took[0]
	var sum, squares float64
	for _, took := range p.took {
		p.Least, p.Most = min(p.Least, took), max(p.Most, took)
		sum += float64(took)
	}
	mean := sum / float64(len(p.took))
	for _, took := range p.took {
		squares += (float64(took) - mean) * (float64(took) - mean)
	}
	p.Mean, p.Spread = time.Duration(mean), time.Duration(math.Sqrt(squares/float64(len(p.took))))
}

func (a *application) pingCommand() *cobra.Command {
	var number int
	var interval time.Duration
	command := &cobra.Command{
		Use:   "ping ADDRESS",
		Short: "Measure round trips",
		Long: `ping connects to a server and measures how long a few bytes and their answer are under way: on the connection
itself, so no command runs. It works with any server, and ends with its statistics, also when it is interrupted.`,
		Example: `  edict ping 127.0.0.1:9000
  edict ping -c 5 -i 200ms unix:///run/shop.sock
  edict ping --json tls://shop.example:9000`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, arguments []string) error {
			return a.ping(command.Context(), arguments[0], number, interval)
		},
	}
	command.Flags().IntVarP(&number, "count", "c", 0, "how many; 0 is until it is interrupted")
	command.Flags().DurationVarP(&interval, "interval", "i", time.Second, "the time from one to the next")
	return command
}

func (a *application) ping(ctx context.Context, address string, number int, interval time.Duration) error {
	if interval < time.Millisecond {
		return usagef("--interval: at least 1ms")
	}
	client, err := a.dial(ctx, address)
	if err != nil {
		return err
	}
	defer client.Close()
	var p pings
	for ctx.Err() == nil && (number == 0 || p.Sent < number) {
		began := time.Now()
		p.Sent++
		took, err := a.pingOnce(ctx, client)
		switch {
		case err == nil:
			p.took = append(p.took, took)
			if a.asJSON {
				err = a.write(map[string]any{"sequence": p.Sent, "time_ns": took})
			} else {
				_, err = fmt.Fprintf(a.out, "answer from %v: sequence %d, time %v\n", client.Peer().Address, p.Sent, short(took))
			}
			if err != nil {
				return failed(exitOther, err)
			}
		case ctx.Err() != nil:
			p.Sent-- // nobody waited for it
		case client.Err() != nil:
			a.summary(&p)
			return failed(exitConnect, client.Err())
		case !a.asJSON:
			fmt.Fprintf(a.out, "sequence %d: %v\n", p.Sent, err)
		}
		if p.Sent != number {
			sleep(ctx, interval-time.Since(began))
		}
	}
	a.summary(&p)
	if p.Answered == 0 && p.Sent > 0 {
		return failed(exitConnect, fmt.Errorf("no answer to %d pings", p.Sent))
	}
	return nil
}

func (a *application) pingOnce(ctx context.Context, client *edict.Client[any]) (time.Duration, error) {
	ctx, cancel := a.within(ctx)
	defer cancel()
	return client.Ping(ctx)
}

func (a *application) summary(p *pings) {
	p.settle()
	if a.asJSON {
		_ = a.write(p) // the end: an error has nobody to go to
		return
	}
	lost := 0.0
	if p.Sent > 0 {
		lost = 100 * float64(p.Sent-p.Answered) / float64(p.Sent)
	}
	fmt.Fprintf(a.out, "\n%d sent, %d answered, %.3g%% lost\n", p.Sent, p.Answered, lost)
	if p.Answered > 0 {
		fmt.Fprintf(a.out, "round trip min/avg/max/stddev = %v/%v/%v/%v\n", short(p.Least), short(p.Mean), short(p.Most), short(p.Spread))
	}
}

// short rounds a duration to three digits.
func short(d time.Duration) time.Duration {
	for unit := time.Nanosecond; unit < time.Minute; unit *= 10 {
		if d < 1000*unit {
			return d.Round(unit)
		}
	}
	return d.Round(time.Second)
}

// sleep waits, or until ctx ends.
func sleep(ctx context.Context, pause time.Duration) {
	if pause <= 0 {
		return
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
