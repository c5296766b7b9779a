package mus

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"time"

	musgo "github.com/mus-format/mus-go"
	"github.com/mus-format/mus-go/ord"
	"github.com/mus-format/mus-go/raw"
	"github.com/mus-format/mus-go/varint"
)

// Codec encodes the types that it was made for. It is immutable.
type Codec struct {
	types map[reflect.Type]*entry
}

// Type is a Go type with its serializer. See [For] and [Generated].
type Type struct {
	value, pointer           reflect.Type
	valueEntry, pointerEntry *entry
}

// New returns a codec for the given types, for pointers to them, and for the basic types.
func New(types ...Type) *Codec {
	c := &Codec{types: maps.Clone(basic)}
	for _, t := range types {
		c.add(t)
	}
	return c
}

// Join returns a codec for all types of the given codecs. If several know a type, the last one's
// serializer is used.
func Join(codecs ...*Codec) *Codec {
	joined := New()
	for _, c := range codecs {
		for t, entry := range c.types {
			if _, ok := basic[t]; !ok || entry != basic[t] {
				joined.types[t] = entry
			}
		}
	}
	return joined
}

func (c *Codec) add(t Type) {
	c.types[t.value] = t.valueEntry
	c.types[t.pointer] = t.pointerEntry
}

// basic holds what every codec knows.
var basic = func() map[reflect.Type]*entry {
	c := &Codec{types: map[reflect.Type]*entry{}}
	for _, t := range []Type{
		Generated(ord.Bool), Generated(String), Generated(Bytes),
		Generated(varint.Int), Generated(varint.Int8), Generated(varint.Int16),
		Generated(varint.Int32), Generated(varint.Int64),
		Generated(varint.Uint), Generated(varint.Uint8), Generated(varint.Uint16),
		Generated(varint.Uint32), Generated(varint.Uint64),
		Generated(raw.Float32), Generated(raw.Float64),
		Generated(Time), Generated(duration{}), Generated(empty{}),
	} {
		c.add(t)
	}
	return c.types
}()

// Name returns "mus".
func (c *Codec) Name() string { return "mus" }

// NamesFields returns false: fields are encoded by position.
func (c *Codec) NamesFields() bool { return false }

// Check reports whether c has a serializer for t that is safe to use on input from the network.
func (c *Codec) Check(t reflect.Type) error {
	entry, ok := c.types[t]
	if !ok {
		return c.unknown(t)
	}
	return entry.problem
}

func (c *Codec) unknown(t reflect.Type) error {
	if t == nil {
		return errors.New("mus: nil has no serializer")
	}
	from := t
	for from.Kind() == reflect.Pointer && from.PkgPath() == "" {
		from = from.Elem()
	}
	where := "the package of the command that uses it"
	if from.PkgPath() != "" {
		where = "package " + from.PkgPath()
	}
	return fmt.Errorf("mus: no serializer for %v: run edict-gen in %s "+
		"(//go:generate go tool edict-gen) and use the codec MUS that it writes", t, where)
}

// Append appends the encoding of value. It boxes what [Codec.Coder] would not.
func (c *Codec) Append(dst []byte, value any) ([]byte, error) {
	entry, ok := c.types[reflect.TypeOf(value)]
	if !ok {
		return dst, c.unknown(reflect.TypeOf(value))
	}
	return entry.appendAny(dst, value)
}

// Decode decodes src into target, a pointer to a type that c knows.
func (c *Codec) Decode(src []byte, target any) error {
	t := reflect.TypeOf(target)
	if t == nil || t.Kind() != reflect.Pointer || reflect.ValueOf(target).IsNil() {
		return errors.New("mus: the target of Decode must be a non-nil pointer")
	}
	entry, ok := c.types[t.Elem()]
	if !ok {
		return c.unknown(t.Elem())
	}
	return entry.decodeAny(src, target)
}

// Coder returns the codec.Coder[V] for the type V that t describes, or nil if c does not know it.
func (c *Codec) Coder(t reflect.Type) any {
	if entry, ok := c.types[t]; ok {
		return entry.coder
	}
	return nil
}

// Time is the serializer that edict-gen uses for time.Time: seconds and nanoseconds. Those of mus-go
// lose either the nanoseconds or all years but 1678 to 2262, the zero Time among them.
var Time musgo.Serializer[time.Time] = timeSerializer{}

type timeSerializer struct{}

func (timeSerializer) Marshal(t time.Time, bs []byte) int {
	n := varint.Int64.Marshal(t.Unix(), bs)
	return n + varint.Uint32.Marshal(uint32(t.Nanosecond()), bs[n:])
}

func (timeSerializer) Unmarshal(bs []byte) (t time.Time, n int, err error) {
	seconds, n, err := varint.Int64.Unmarshal(bs)
	if err != nil {
		return time.Time{}, n, err
	}
	nanoseconds, more, err := varint.Uint32.Unmarshal(bs[n:])
	if err == nil && nanoseconds >= uint32(time.Second) {
		err = errors.New("nanoseconds out of range")
	}
	if err != nil {
		return time.Time{}, n + more, err
	}
	return time.Unix(seconds, int64(nanoseconds)).UTC(), n + more, nil
}

func (timeSerializer) Size(t time.Time) int {
	return varint.Int64.Size(t.Unix()) + varint.Uint32.Size(uint32(t.Nanosecond()))
}

func (timeSerializer) Skip(bs []byte) (int, error) {
	n, err := varint.Int64.Skip(bs)
	if err != nil {
		return n, err
	}
	more, err := varint.Uint32.Skip(bs[n:])
	return n + more, err
}

type duration struct{}

func (duration) Marshal(d time.Duration, bs []byte) int { return varint.Int64.Marshal(int64(d), bs) }

func (duration) Unmarshal(bs []byte) (time.Duration, int, error) {
	d, n, err := varint.Int64.Unmarshal(bs)
	return time.Duration(d), n, err
}
func (duration) Size(d time.Duration) int    { return varint.Int64.Size(int64(d)) }
func (duration) Skip(bs []byte) (int, error) { return varint.Int64.Skip(bs) }

// empty is for commands that have nothing to say but that they are done.
type empty struct{}

func (empty) Marshal(struct{}, []byte) int                    { return 0 }
func (empty) Unmarshal([]byte) (_ struct{}, n int, err error) { return }
func (empty) Size(struct{}) int                               { return 0 }
func (empty) Skip([]byte) (int, error)                        { return 0, nil }
