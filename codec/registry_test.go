package codec_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/edict-go/edict/codec"
	"github.com/edict-go/edict/core"
)

type till struct{}

type credit struct{ Amount int }

func (credit) Exec(context.Context, *till) (int, error) { return 0, nil }

type debit struct{ Amount int }

func (*debit) Exec(context.Context, *till) (int, error) { return 0, nil }

type history struct{ Days int }

func (history) Exec(context.Context, *till, core.Sink[string]) error { return nil }

// plain is a codec that writes values as fmt does. It refuses a type.
type plain struct{ refuse reflect.Type }

func (plain) Name() string      { return "plain" }
func (plain) NamesFields() bool { return true }

func (p plain) Check(t reflect.Type) error {
	if t == p.refuse {
		return errors.New("don't know how")
	}
	return nil
}

func (plain) Append(dst []byte, value any) ([]byte, error) { return fmt.Append(dst, value), nil }
func (plain) Decode([]byte, any) error                     { return nil }

// odd is a codec of which nobody can tell whether it is the same as another one.
type odd struct {
	plain
	_ func()
}

// Connections with the same codec share the commands that are bound to it, and only those do.
func TestBind(t *testing.T) {
	r := codec.Commands(codec.Unary[credit](), codec.ServerStream[history]().Named("past"))
	bound := r.Bind(plain{})
	if len(bound) != 2 || bound[0].Name != "credit" || bound[0].Stream || bound[1].Name != "past" || !bound[1].Stream {
		t.Errorf("bound are %+v", bound)
	}
	encoded, err := bound[0].Encoder.AppendCommand(nil, credit{7})
	if err != nil || string(encoded) != "{7}" {
		t.Errorf("%q, %v", encoded, err)
	}
	if again := r.Bind(plain{}); &again[0] != &bound[0] {
		t.Error("the same codec gets commands of its own")
	}
	if other := r.Bind(plain{reflect.TypeFor[int]()}); &other[0] == &bound[0] {
		t.Error("another codec gets the same commands")
	}
	first := r.Bind(odd{})
	if second := r.Bind(odd{}); &first[0] == &second[0] {
		t.Error("who knows whether these are the same")
	}
}

func TestRegistry(t *testing.T) {
	r := codec.Commands(codec.Unary[credit](), codec.Unary[*debit]().Named("withdraw"), codec.ServerStream[history]())
	if r.Len() != 3 {
		t.Fatalf("it has %d commands", r.Len())
	}
	for i, want := range []struct {
		name   string
		stream bool
		value  any
	}{{"credit", false, credit{}}, {"withdraw", false, &debit{}}, {"history", true, history{}}} {
		d := r.At(i)
		if d.Name() != want.name || d.Stream() != want.stream {
			t.Errorf("command %d is %q, stream %v; want %q, %v", i, d.Name(), d.Stream(), want.name, want.stream)
		}
		if index, ok := r.Index(want.value); index != i || !ok {
			t.Errorf("a %T has the index %d, %v; want %d", want.value, index, ok, i)
		}
		if executor := d.Executor(plain{}, &till{}); executor.Stream() != want.stream {
			t.Errorf("the executor of %s has Stream %v", want.name, executor.Stream())
		}
	}
	for _, stranger := range []any{nil, 5, till{}, new(*debit)} {
		if index, ok := r.Index(stranger); ok {
			t.Errorf("a %T has the index %d", stranger, index)
		}
	}
}

// TestAPointerToACommandIsTheCommand: its methods are the pointer's too, so it fits every signature.
func TestAPointerToACommandIsTheCommand(t *testing.T) {
	r := codec.Commands(codec.Unary[credit](), codec.Unary[*debit]())
	if index, ok := r.Index(&credit{}); index != 0 || !ok {
		t.Errorf("a *credit has the index %d, %v", index, ok)
	}
	if _, ok := r.Index(debit{}); ok {
		t.Error("a debit, which has no Exec, is taken for a *debit")
	}
	encoder := r.At(0).Encoder(plain{}).Command
	for _, command := range []any{credit{7}, &credit{7}} {
		if got, err := encoder.AppendCommand([]byte(">"), command); string(got) != ">{7}" || err != nil {
			t.Errorf("a %T is encoded to %q, %v", command, got, err)
		}
	}
	for _, wrong := range []any{(*credit)(nil), debit{}, nil} {
		if _, err := encoder.AppendCommand(nil, wrong); err == nil || !strings.Contains(err.Error(), "codec_test.credit is wanted") {
			t.Errorf("a %T is encoded: %v", wrong, err)
		}
	}

	// Both forms registered, under two names: each is its own command.
	both := codec.Commands(codec.Unary[*credit]().Named("pointer"), codec.Unary[credit]())
	for i, command := range []any{&credit{}, credit{}} {
		if index, _ := both.Index(command); index != i {
			t.Errorf("a %T has the index %d, want %d", command, index, i)
		}
	}
}

func TestMistakesInARegistryPanicWithAClearText(t *testing.T) {
	for words, definitions := range map[string][]codec.Definition[*till]{
		`the commands codec_test.credit and codec_test.history are both named "credit": give one another name with Named`: {
			codec.Unary[credit](), codec.ServerStream[history]().Named("credit"),
		},
		"the command codec_test.credit is defined twice": {codec.Unary[credit](), codec.Unary[credit]().Named("other")},
		"a command has no name":                          {codec.Unary[credit]().Named("")},
		"a command has no name: use Unary":               {{}},
	} {
		func() {
			defer func() {
				if text := fmt.Sprint(recover()); !strings.HasPrefix(text, "edict: ") || !strings.Contains(text, words) {
					t.Errorf("it panics with %q, want %q", text, words)
				}
			}()
			codec.Commands(definitions...)
			t.Errorf("it does not panic, want %q", words)
		}()
	}
}

func TestCheckNamesTheCommandAndTheCodec(t *testing.T) {
	r := codec.Commands(codec.Unary[credit](), codec.ServerStream[history]())
	if err := r.Check(plain{}); err != nil {
		t.Error(err)
	}
	for _, refused := range []reflect.Type{reflect.TypeFor[history](), reflect.TypeFor[string]()} { // command, result
		err := r.Check(plain{refuse: refused})
		if err == nil || !strings.Contains(err.Error(), "command history with codec plain: don't know how") {
			t.Errorf("got %v", err)
		}
	}
}

func TestAnEmptyRegistry(t *testing.T) {
	r := codec.Commands[*till]()
	if _, ok := r.Index(credit{}); ok || r.Len() != 0 || r.Check(plain{}) != nil {
		t.Error("it has something")
	}
}
