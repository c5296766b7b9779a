package codec

import (
	"fmt"
	"reflect"
	"slices"
	"sync/atomic"

	"github.com/edict-go/edict/core"
)

// Registry is the set of commands that one kind of receiver, T, executes. It is immutable and safe
// for concurrent use; client and server share it, or have one each.
type Registry[T any] struct {
	definitions []Definition[T]
	byType      map[reflect.Type]int
	byName      map[string]int // of Raw commands, which all have one type
	lastBound   atomic.Pointer[binding]
}

// binding is what Bind has returned for a codec.
type binding struct {
	codec    Codec
	commands []core.Bound
}

// Commands makes a Registry. Two definitions with the same name or the same type are a mistake in
// the program, so it panics, saying which.
func Commands[T any](definitions ...Definition[T]) *Registry[T] {
	r := &Registry[T]{definitions: slices.Clone(definitions), byType: map[reflect.Type]int{}, byName: map[string]int{}}
	byName := map[string]reflect.Type{}
	for i, d := range definitions {
		if d.name == "" {
			panic("edict: a command has no name: use Unary, ServerStream, Duplex and Named to define it")
		}
		if other, ok := byName[d.name]; ok {
			panic(fmt.Sprintf("edict: the commands %v and %v are both named %q: give one another name with Named", other, d.command, d.name))
		}
		if d.raw {
			byName[d.name], r.byName[d.name] = reflect.TypeFor[RawCommand](), i
			continue
		}
		if _, ok := r.byType[d.command]; ok {
			panic(fmt.Sprintf("edict: the command %v is defined twice", d.command))
		}
		byName[d.name] = d.command
		r.byType[d.command] = i
		r.definitions[i].shape = d.Shape()
	}
	// A caller may pass &Add{} where Add is registered: the methods of a value are the pointer's too.
	for i, d := range definitions {
		if !d.raw && d.command.Kind() != reflect.Pointer {
			if pointer := reflect.PointerTo(d.command); !has(r.byType, pointer) {
				r.byType[pointer] = i
			}
		}
	}
	return r
}

func has[K comparable, V any](m map[K]V, key K) bool {
	_, ok := m[key]
	return ok
}

// Len returns the number of commands.
func (r *Registry[T]) Len() int { return len(r.definitions) }

// At returns the i-th command. The order is that of the registration and means nothing elsewhere.
func (r *Registry[T]) At(i int) Definition[T] { return r.definitions[i] }

// Index returns the index of the command that value is.
func (r *Registry[T]) Index(value any) (int, bool) {
	i, ok := r.byType[reflect.TypeOf(value)]
	if !ok {
		if raw, isRaw := value.(RawCommand); isRaw {
			i, ok = r.byName[raw.Name]
		}
	}
	return i, ok
}

// Is reports whether value is surely the i-th command, without a search for it.
func (r *Registry[T]) Is(i int, value any) bool {
	is := r.definitions[i].command // nil if it has no Go type
	return is != nil && is == reflect.TypeOf(value)
}

// Describe returns the name and the shape of the i-th command. The shape must not be changed.
func (r *Registry[T]) Describe(i int) (string, Shape) {
	return r.definitions[i].name, r.definitions[i].shape
}

// Bind returns the commands, in their order, which numbers them, as a client needs them for codec. They must not be changed: the
// connections of all clients that use the same codec share them.
func (r *Registry[T]) Bind(codec Codec) []core.Bound {
	keep := reflect.ValueOf(codec).Comparable() // else nobody can tell whether it is the same
	if last := r.lastBound.Load(); keep && last != nil && last.codec == codec {
		return last.commands
	}
	commands := make([]core.Bound, len(r.definitions))
	for i, d := range r.definitions {
		e := d.encoder(codec)
		commands[i] = core.Bound{
			Name: d.name, Number: uint16(i), Stream: d.stream, Ordered: e.Ordered, Encoder: e.Command, Inputs: e.Input, Result: e.Result,
		}
	}
	if keep {
		r.lastBound.Store(&binding{codec, commands})
	}
	return commands
}

// Check reports whether codec can encode and decode all commands, inputs and results.
func (r *Registry[T]) Check(codec Codec) error {
	for _, d := range r.definitions {
		if d.foreign {
			continue // the command brings its own encoding
		}
		for _, t := range []reflect.Type{d.command, d.input, d.result} {
			if t == nil {
				continue // no inputs
			}
			if err := codec.Check(t); err != nil {
				return fmt.Errorf("command %s with codec %s: %w", d.name, codec.Name(), err)
			}
		}
	}
	return nil
}

// Definition is one command of a Registry: Unary, ServerStream, Duplex, Foreign or Raw make it.
type Definition[T any] struct {
	name            string
	command, result reflect.Type
	input           reflect.Type // nil without inputs
	stream          bool
	foreign         bool
	shape           Shape // of a Foreign or Raw command, or one that is registered; else nil
	raw             bool
	ordered         bool
	encoder         func(Codec) Encoder
	executor        func(Codec, T) core.Executor
}

// Encoder is what a client needs of a definition and a codec.
type Encoder struct {
	Command core.CommandEncoder
	Input   core.CommandEncoder // nil without inputs
	Result  any                 // a *core.ResultDecoder of the result's type
	Ordered bool                // whether the command is core.Ordered
}

// Unary defines the command C, which has one result, under the name of its type.
func Unary[C core.Command[T, R], T, R any]() Definition[T] {
	d := define[C, T, R]()
	d.executor = func(codec Codec, receiver T) core.Executor {
		u := newUnary[C, T, R](receiver, CoderFor[C](codec), CoderFor[R](codec))
		return inOrder(u, u.command, u.execute)
	}
	return d
}

// ServerStream defines the command C, which has any number of results, under the name of its type.
func ServerStream[C core.StreamCommand[T, R], T, R any]() Definition[T] {
	d := define[C, T, R]()
	d.stream = true
	d.executor = func(codec Codec, receiver T) core.Executor {
		s := &serverStream[C, T, R]{receiver, CoderFor[C](codec), CoderFor[R](codec)}
		return inOrder(s, s.command, s.execute)
	}
	return d
}

// Duplex defines the command C, which takes any number of inputs and has any number of results, under
// the name of its type.
func Duplex[C core.DuplexCommand[T, I, R], T, I, R any]() Definition[T] {
	d := define[C, T, R]()
	d.stream, d.input = true, reflect.TypeFor[I]()
	commandAndResult := d.encoder
	d.encoder = func(codec Codec) Encoder {
		e := commandAndResult(codec)
		e.Input = encoder[I]{CoderFor[I](codec)}
		return e
	}
	d.executor = func(codec Codec, receiver T) core.Executor {
		d := &duplex[C, T, I, R]{receiver, CoderFor[C](codec), CoderFor[I](codec), CoderFor[R](codec)}
		return inOrder(d, d.command, d.execute)
	}
	return d
}

func define[C, T, R any]() Definition[T] {
	d := Definition[T]{command: reflect.TypeFor[C](), result: reflect.TypeFor[R]()}
	d.name, d.ordered = typeName(d.command), orderingKey[C]() != nil
	d.encoder = func(codec Codec) Encoder {
		return Encoder{
			Command: encoder[C]{CoderFor[C](codec)}, Result: &core.ResultDecoder[R]{Decode: CoderFor[R](codec).Decode},
			Ordered: d.ordered,
		}
	}
	return d
}

// Foreign is a command that brings its own encoding, the same with every codec, and its own execution. It is
// for bridges to other systems, whose messages have an encoding already and whose handlers decode them into
// values of their own.
type Foreign[T any] struct {
	// Format names the encoding. It is a part of the command's shape, so two sides with different formats
	// find out when they connect.
	Format string
	// Stream is true if the command has any number of results.
	Stream bool
	// Encoder encodes commands, and inputs if the command takes some: it is for streams then. Its Result
	// goes back to the caller in each core.Message, whose Body has the result as Executor made it.
	Encoder Encoder
	// Executor returns what runs the command against receiver. Like Stream and Encoder, it must say of itself
	// whether the command has any number of results and takes inputs.
	Executor func(receiver T) core.Executor
}

// Definition returns the definition of f under name, for commands that senders are given as values of type
// command.
func (f Foreign[T]) Definition(name string, command reflect.Type) Definition[T] {
	d := Definition[T]{name: name, command: command, stream: f.Stream, foreign: true}
	switch {
	case f.Encoder.Input != nil:
		d.input = command // only to say that there are inputs
		d.shape = Shape{"duplex", ". " + f.Format, "< " + f.Format, "> " + f.Format}
	case f.Stream:
		d.shape = Shape{"stream", ". " + f.Format, "> " + f.Format}
	default:
		d.shape = Shape{"unary", ". " + f.Format, "> " + f.Format}
	}
	d.encoder = func(Codec) Encoder { return f.Encoder }
	d.executor = func(_ Codec, receiver T) core.Executor { return f.Executor(receiver) }
	return d
}

// typeName is the name of t without its package.
func typeName(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Name()
}

// Named returns the definition under another name, which must stay the same for as long as there
// are clients that use it.
func (d Definition[T]) Named(name string) Definition[T] {
	d.name = name
	return d
}

// Name returns the command's name.
func (d Definition[T]) Name() string { return d.name }

// Stream reports whether the command has any number of results.
func (d Definition[T]) Stream() bool { return d.stream }

// Inputs reports whether the command takes inputs.
func (d Definition[T]) Inputs() bool { return d.input != nil }

// Shape returns the command's shape, which must not be changed.
func (d Definition[T]) Shape() Shape {
	if d.shape != nil {
		return d.shape
	}
	return shapeOf(d.command, d.input, d.result, d.stream)
}

// Encoder returns what encodes the command and its inputs in codec, and decodes its results.
func (d Definition[T]) Encoder(codec Codec) Encoder { return d.encoder(codec) }

// Executor returns what runs the command against receiver. For a command that is core.Ordered it is a
// core.OrderedExecutor.
func (d Definition[T]) Executor(codec Codec, receiver T) core.Executor {
	return d.executor(codec, receiver)
}

// encoder encodes commands, or inputs, of type C that come as any.
type encoder[C any] struct{ coder Coder[C] }

func (e encoder[C]) AppendCommand(dst []byte, command any) ([]byte, error) {
	switch command := command.(type) {
	case C:
		return e.coder.Append(dst, command)
	case *C: // see Commands
		if command != nil {
			return e.coder.Append(dst, *command)
		}
	}
	return dst, fmt.Errorf("it is %T, %v is wanted", command, reflect.TypeFor[C]())
}
