package main

import (
	"context"
	"fmt"
	"log"
	"strings"
	"sync"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/examples/group/commands"
	"github.com/edict-go/edict/group"
)

// runClient makes calls until it is interrupted, and prints who serves them.
func runClient(ctx context.Context, s *settings, out *log.Logger) error {
	library, err := group.Dial(ctx, commands.All, group.Config{Endpoints: group.Static(s.connect...), Strategy: s.strategy})
	if err != nil {
		return err
	}
	defer library.Close()

	var mu sync.Mutex // guards count
	count := newCounter()
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			name, err := edict.Call(ctx, library, commands.Find{Title: fmt.Sprint("Book ", n%100)})
			if ctx.Err() == nil {
				mu.Lock()
				count.add(name, err)
				mu.Unlock()
			}
			select { // about a thousand a second
			case <-time.After(time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	ticker := time.NewTicker(s.every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		mu.Lock()
		finished := count
		count = newCounter()
		mu.Unlock()
		var states []string
		for _, e := range library.Stats().Endpoints {
			for _, connection := range e.Connections {
				states = append(states, connection.State.String())
			}
		}
		out.Printf("%v (connections: %s)", finished, strings.Join(states, ", "))
	}
}
