package edictotel

import (
	"context"
	"strings"

	"github.com/edict-go/edict"
)

// ServerInterceptor returns the server's interceptor. It should be the outermost one: what others do and log then
// belongs to the span. Commands that the server refuses without decoding them don't reach it; edict.server.commands
// counts them.
func (t *Telemetry) ServerInterceptor() edict.ServerInterceptor { return t.server.interceptServer }

func (s *side) interceptServer(ctx context.Context, call *edict.ServerCall, next func(context.Context) error) (err error) {
	c := s.command(call.Name)
	c.begins()
	if call.HasMetadata() {
		ctx = s.telemetry.settings.propagator.Extract(ctx, serverCarrier{call})
	}
	ctx, span, traced := s.begin(ctx, c)
	recordWith := context.Background()
	if traced {
		recordWith = ctx
	}
	returned := false
	defer func() {
		recorded := err
		switch {
		case !returned: // a panic, which goes on, or runtime.Goexit
			recorded = edict.Internal
			call.LogWith(ctx)
		case err != nil && edict.CodeOf(err) == edict.Unknown && ctx.Err() != nil:
			recorded = ctx.Err() // which is what the caller hears of
		}
		outcome := edict.Executed
		if recorded != nil && !call.Begun() {
			outcome = edict.Refused
		}
		s.end(recordWith, c, span, call.Age(), recorded, outcome, false, call.Stats())
	}()
	err = next(ctx)
	returned = true
	return err
}

// serverCarrier lets a propagator read the metadata of a command. It is a propagation.TextMapCarrier.
type serverCarrier struct{ call *edict.ServerCall }

func (c serverCarrier) Get(key string) string { return c.call.MetadataValue(key) }
func (c serverCarrier) Set(string, string)    {}

func (c serverCarrier) Keys() []string {
	var keys []string
	for key := range c.call.Metadata() {
		keys = append(keys, key)
	}
	return keys
}

// Values returns all values of a key, for propagators that take several (propagation.ValuesGetter).
func (c serverCarrier) Values(key string) []string {
	if c.call.MetadataValue(key) == "" {
		return nil // nearly always, and then nothing need be decoded
	}
	return c.call.Metadata()[strings.ToLower(key)]
}
