package dynamic

import (
	"context"
	stdjson "encoding/json"
	"io"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/codec"
	"github.com/edict-go/edict/codec/json"
)

// Client calls commands by their names. Safe for concurrent use.
type Client struct {
	client     *edict.Client[any]
	reflection edict.Reflection
}

// ownNames are the names of commands that a server may have of itself.
var ownNames = []string{edict.ReflectName, edict.StatsName}

// builtIn is a command that a server may have of itself.
func builtIn(name string) edict.Definition[any] { return codec.Raw[any](name, edict.BuiltInShape()) }

// Dial connects to a server and learns its commands, which takes two connections, one after the other. Options of the
// codecs are ignored: it is json. It fails with Unimplemented if the server has no edict.WithReflection.
func Dial(ctx context.Context, address string, options ...edict.DialOption) (*Client, error) {
	options = append(slices.Clone(options), edict.WithCodecs(json.Codec))
	first, err := edict.Dial(ctx, address, edict.Commands(builtIn(edict.ReflectName)), options...)
	if err != nil {
		return nil, err
	}
	reflection, err := reflect(ctx, first)
	_ = first.Close()
	if err != nil {
		return nil, err
	}
	var definitions []edict.Definition[any]
	for _, name := range ownNames {
		if slices.Contains(reflection.BuiltIn, name) {
			definitions = append(definitions, builtIn(name))
		}
	}
	for _, command := range reflection.Commands {
		definitions = append(definitions, codec.Raw[any](command.Name, command.Shape))
	}
	client, err := edict.Dial(ctx, address, edict.Commands(definitions...), append(options, edict.WithShapeDifferences())...)
	if err != nil {
		return nil, err
	}
	return &Client{client, reflection}, nil
}

func reflect(ctx context.Context, client *edict.Client[any]) (edict.Reflection, error) {
	var reflection edict.Reflection
	answer, err := call(ctx, client, edict.ReflectName, nil)
	if edict.CodeOf(err) == edict.Unimplemented {
		return reflection, &edict.Error{
			Code: edict.Unimplemented, Outcome: edict.NotSent, Cause: err,
			Message: "the server does not tell its commands: it needs the option edict.WithReflection()",
		}
	}
	if err != nil {
		return reflection, err
	}
	if err := stdjson.Unmarshal(answer, &reflection); err != nil {
		return reflection, edict.Errorf(edict.Internal, "can't decode what the server tells of its commands: %w", err)
	}
	names := map[string]bool{}
	for _, name := range ownNames {
		names[name] = true
	}
	for _, command := range reflection.Commands {
		if names[command.Name] {
			return reflection, edict.Errorf(edict.Internal, "the server describes the command %q twice", command.Name)
		}
		names[command.Name] = true
		if command.Name == "" || len(command.Shape) == 0 {
			return reflection, edict.Errorf(edict.Internal, "the server describes a command without a name or shape")
		}
	}
	return reflection, nil
}

// Commands returns what the server has said of its commands, in the order of their names.
func (c *Client) Commands() []edict.CommandDescription { return slices.Clone(c.reflection.Commands) }

// Command returns the description of a command, and false if the server has none of that name.
func (c *Client) Command(name string) (edict.CommandDescription, bool) {
	i := slices.IndexFunc(c.reflection.Commands, func(d edict.CommandDescription) bool { return d.Name == name })
	if i < 0 {
		return edict.CommandDescription{}, false
	}
	return c.reflection.Commands[i], true
}

// ServerName returns what the server calls itself.
func (c *Client) ServerName() string { return c.reflection.Server }

// check returns why a command can't be called as one of a kind, with that body.
func (c *Client) check(name, kind string, body []byte) error {
	description, ok := c.Command(name)
	fault := func(code edict.Code, text string) error {
		return &edict.Error{Code: code, Outcome: edict.NotSent, Command: name, Message: text}
	}
	switch {
	case !ok:
		return fault(edict.Unimplemented, "the server has no such command")
	case description.Format != "":
		return fault(edict.Unimplemented, "the command has an encoding of its own ("+description.Format+")")
	case description.Kind != kind:
		return fault(edict.InvalidArgument, "it is a "+description.Kind+" command, and was called as a "+kind+" one")
	case !stdjson.Valid(body):
		return fault(edict.InvalidArgument, "the body is not JSON")
	}
	return nil
}

// Call executes a command with one result. body is the command in JSON; empty is {}.
func (c *Client) Call(ctx context.Context, name, body string, options ...Option) (stdjson.RawMessage, error) {
	encoded := orEmpty(body)
	if err := c.check(name, "unary", encoded); err != nil {
		return nil, err
	}
	return call(ctx, c.client, name, encoded, options...)
}

func orEmpty(body string) []byte {
	if body == "" {
		body = "{}"
	}
	return []byte(body)
}

func call(ctx context.Context, client *edict.Client[any], name string, body []byte, options ...Option) (stdjson.RawMessage, error) {
	exchange, err := client.Start(ctx, request(name, body, false, false, options))
	if err != nil {
		return nil, err
	}
	defer exchange.Close()
	message, err := exchange.Receive()
	if err == io.EOF {
		return nil, edict.Errorf(edict.Internal, "the command ended without a result")
	}
	if err != nil {
		return nil, err
	}
	return slices.Clone(message.Body), nil
}

// Option changes one call.
type Option func(*edict.RequestOptions)

// WithMetadata sends metadata with the command.
func WithMetadata(metadata edict.Metadata) Option {
	return func(o *edict.RequestOptions) { o.Metadata = metadata }
}

func request(name string, body []byte, stream, inputs bool, options []Option) edict.Request[any] {
	r := edict.Request[any]{Command: codec.RawCommand{Name: name, Body: body}, Stream: stream, Inputs: inputs}
	if len(options) > 0 {
		r.Options = new(edict.RequestOptions)
	}
	for _, option := range options {
		option(r.Options)
	}
	return r
}

// Stream executes a command with any number of results, when the range over them starts. An error comes once and last.
// Leaving the loop cancels the command.
func (c *Client) Stream(ctx context.Context, name, body string, options ...Option) iter.Seq2[stdjson.RawMessage, error] {
	return c.results(ctx, "stream", name, body, nil, options)
}

// Duplex is Stream for a command that takes inputs. They are asked for in a goroutine of their own, as fast as the
// command takes them. When the command has ended that goroutine asks for one more at most, so it ends when inputs has
// that, or ends: nobody waits for it. An error among the inputs cancels the command, and is returned as its cause.
func (c *Client) Duplex(ctx context.Context, name, body string, inputs iter.Seq2[stdjson.RawMessage, error], options ...Option) iter.Seq2[stdjson.RawMessage, error] {
	return c.results(ctx, "duplex", name, body, inputs, options)
}

func (c *Client) results(ctx context.Context, kind, name, body string, inputs iter.Seq2[stdjson.RawMessage, error], options []Option) iter.Seq2[stdjson.RawMessage, error] {
	return func(yield func(stdjson.RawMessage, error) bool) {
		encoded := orEmpty(body)
		if err := c.check(name, kind, encoded); err != nil {
			yield(nil, err)
			return
		}
		exchange, err := c.client.Start(ctx, request(name, encoded, true, inputs != nil, options))
		if err != nil {
			yield(nil, err)
			return
		}
		sender := &sender{exchange: exchange}
		if inputs != nil {
			go sender.run(inputs)
		}
		defer sender.close()
		for {
			message, err := exchange.Receive()
			if broken := sender.failure(); err != nil && broken != nil {
				err = &edict.Error{
					Code: edict.CodeOf(broken), Outcome: edict.OutcomeOf(err), Command: name, Cause: broken,
					Message: "the inputs broke off: " + broken.Error(),
				}
			}
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(slices.Clone(message.Body), nil) {
				return
			}
		}
	}
}

// sender sends the inputs of a call, and closes it when that does no harm.
type sender struct {
	exchange edict.Exchange

	mu     sync.Mutex // guards the following, and that sending is added to before closed is set; held briefly
	closed bool
	broken error // why the inputs have broken off
	// sending counts uses of exchange by run.
	sending sync.WaitGroup
}

// run sends the inputs. Started by results; it ends with the inputs, or when it has asked for one after the call's end.
func (s *sender) run(inputs iter.Seq2[stdjson.RawMessage, error]) {
	for input, err := range inputs {
		if err == nil && !stdjson.Valid(input) {
			err = edict.Errorf(edict.InvalidArgument, "an input is not JSON: %q", clip(input))
		}
		ended := s.use(func() {
			if err == nil {
				err = s.exchange.Send(input)
			}
			if err != nil && err != io.EOF { // EOF: the call has ended, which Receive tells
				s.mu.Lock()
				s.broken = err
				s.mu.Unlock()
				s.exchange.Cancel(err)
			}
		})
		if ended || err != nil {
			return
		}
	}
	s.use(func() { _ = s.exchange.CloseSend() }) // an error says that the call has ended
}

// failure returns why the inputs have broken off, nil if they have not.
func (s *sender) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken
}

// use calls do unless the exchange is closed, which it reports.
func (s *sender) use(do func()) (ended bool) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return true
	}
	s.sending.Add(1)
	s.mu.Unlock()
	defer s.sending.Done()
	do()
	return false
}

// close ends the call, if it goes on, and releases it.
func (s *sender) close() {
	s.exchange.Cancel(context.Canceled) // so that a Send that waits returns
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.sending.Wait()
	s.exchange.Close()
}

// clip bounds what an error repeats.
func clip(input []byte) []byte { return input[:min(len(input), 80)] }

// Stats returns a snapshot of the server, if it has edict.WithRemoteStats; else it fails with Unimplemented.
func (c *Client) Stats(ctx context.Context) (edict.Snapshot, error) {
	var snapshot edict.Snapshot
	if !slices.Contains(c.reflection.BuiltIn, edict.StatsName) {
		return snapshot, &edict.Error{
			Code: edict.Unimplemented, Outcome: edict.NotSent,
			Message: "the server tells no statistics: it needs the option edict.WithRemoteStats()",
		}
	}
	answer, err := call(ctx, c.client, edict.StatsName, nil)
	if err != nil {
		return snapshot, err
	}
	if err := stdjson.Unmarshal(answer, &snapshot); err != nil {
		return snapshot, edict.Errorf(edict.Internal, "can't decode the server's statistics: %w", err)
	}
	return snapshot, nil
}

// Ping returns how long a few bytes are under way to the server and back.
func (c *Client) Ping(ctx context.Context) (time.Duration, error) { return c.client.Ping(ctx) }

// Details returns the client's own statistics.
func (c *Client) Details() edict.ClientStats { return c.client.Stats() }

// Close ends the client at once.
func (c *Client) Close() error { return c.client.Close() }
