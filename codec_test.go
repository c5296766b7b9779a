package edict_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/codec/json"
	"github.com/edict-go/edict/delegate"
	"github.com/edict-go/edict/transport"
)

// namedCodec is JSON under another name.
type namedCodec string

func (c namedCodec) Name() string                               { return string(c) }
func (namedCodec) NamesFields() bool                            { return false }
func (namedCodec) Check(t reflect.Type) error                   { return json.Codec.Check(t) }
func (namedCodec) Append(dst []byte, value any) ([]byte, error) { return json.Codec.Append(dst, value) }

func (namedCodec) Decode(src []byte, target any) error { return json.Codec.Decode(src, target) }

// The server takes the first of the client's codecs that it has too.
func TestCodecNegotiation(t *testing.T) {
	b := serve(t, edict.WithCodecs(namedCodec("a"), namedCodec("b"), json.Codec))
	for _, test := range []struct {
		offered []namedCodec
		chosen  string
	}{
		{[]namedCodec{"x", "b", "a"}, "b"},
		{[]namedCodec{"a", "b"}, "a"},
		{[]namedCodec{"x", "y", "json"}, "json"},
	} {
		var codecs []edict.Codec
		for _, c := range test.offered {
			codecs = append(codecs, c)
		}
		client := b.client(edict.WithCodecs(codecs...))
		if got := client.Peer().Codec; got != test.chosen {
			t.Errorf("offered %v: %s was chosen, not %s", test.offered, got, test.chosen)
		}
		wantSum(t, client)
	}
}

// other has the name of add and another shape.
type other struct {
	A int
	B string
}

func (other) Exec(context.Context, *lab) (int, error) { return 0, nil }

func TestShapeThatDiffers(t *testing.T) {
	b := serve(t, edict.WithCodecs(json.Codec, namedCodec("positional")))
	commands := edict.Commands(edict.Unary[other]().Named("add"), edict.Unary[repeat]())
	_, err := edict.Dial(t.Context(), "test", commands, edict.WithDialer(b.dial))
	wantError(t, err, edict.FailedPrecondition, edict.NotSent)
	if want := "command add: field B is string here, int on the server"; !strings.Contains(err.Error(), want) {
		t.Errorf("got %v", err)
	}
	if !errors.Is(err, &edict.Error{Code: edict.FailedPrecondition, Reason: delegate.ReasonShape}) {
		t.Errorf("%v has not the reason", err)
	}

	allow := edict.ClientConfig{AllowShapeDifferences: true}
	named, err := edict.Dial(t.Context(), "test", commands, edict.WithDialer(b.dial), allow)
	if err != nil {
		t.Fatal(err)
	}
	defer named.Close()
	_, err = edict.Call(t.Context(), named, other{B: "not a number"})
	wantError(t, err, edict.InvalidArgument, edict.Refused)

	positional, err := edict.Dial(t.Context(), "test", commands, edict.WithDialer(b.dial), allow, edict.WithCodecs(namedCodec("positional")))
	if err != nil {
		t.Fatal(err)
	}
	defer positional.Close()
	_, err = edict.Call(t.Context(), positional, other{})
	wantError(t, err, edict.FailedPrecondition, edict.NotSent)
	if text, err := edict.Call(t.Context(), positional, repeat{"a", 2}); text != "aa" || err != nil {
		t.Error(text, err)
	}
}

type unencodable struct{ F func() }

func (unencodable) Exec(context.Context, *lab) (int, error) { return 0, nil }

// A command that the codec can't encode is found before anything is sent, on both sides.
func TestCodecThatCannotEncode(t *testing.T) {
	commands := edict.Commands(edict.Unary[unencodable]())
	listener := transport.NewMemory()
	if err := edict.NewServer(newLab(), commands).Serve(listener); edict.CodeOf(err) != edict.FailedPrecondition || !strings.Contains(err.Error(), "unencodable") {
		t.Errorf("Serve: %v", err)
	}
	_, err := edict.Dial(t.Context(), "test", commands, edict.WithDialer(listener.Dial))
	wantError(t, err, edict.FailedPrecondition, edict.NotSent)
}
