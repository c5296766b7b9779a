package codec

import (
	"context"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/edict-go/edict/core"
)

type (
	node struct {
		Value    int
		Next     *node
		Children []node
		ByName   map[string]*node
	}
	list    []list
	pointer *pointer
	mapping map[string]mapping
)

type everything struct {
	Bool    bool
	Int     int
	Text    string
	Bytes   []byte
	Numbers []uint16
	Grid    [2][3]float32
	Map     map[string]int64
	Any     any
	At      time.Time
	Pointer *string
	Nested  struct{ X, Y int8 }
	private int
}

func (everything) Exec(context.Context, *int) (*node, error) { return nil, nil }

func TestTheShapeOfACommand(t *testing.T) {
	_ = everything{}.private
	want := Shape{
		"unary", ". struct",
		"Bool bool", "Int int", "Text string", "Bytes bytes",
		"Numbers []", "Numbers[] uint16",
		"Grid [2]", "Grid[] [3]", "Grid[][] float32",
		"Map map", "Map[key] string", "Map[] int64",
		"Any any", "At time.Time", "Pointer *string",
		"Nested struct", "Nested.X int8", "Nested.Y int8",
		"> struct", ">.Value int", ">.Next *recursive node",
		">.Children []", ">.Children[] recursive node",
		">.ByName map", ">.ByName[key] string", ">.ByName[] *recursive node",
	}
	if got := Unary[everything]().Shape(); !slices.Equal(got, want) {
		t.Errorf("got\n%v\nwant\n%v", got, want)
	}
	if again := ParseShape(want.String()); !slices.Equal(again, want) {
		t.Errorf("written and parsed it is\n%v", again)
	}
}

type counting struct{ To int }

func (counting) Exec(context.Context, *int, core.Sink[string]) error { return nil }

func TestTheShapeOfAStream(t *testing.T) {
	if got, want := ServerStream[counting]().Shape(), (Shape{"stream", ". struct", "To int", "> string"}); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestRecursiveTypesEnd(t *testing.T) {
	for _, recursive := range []reflect.Type{
		reflect.TypeFor[node](), reflect.TypeFor[list](), reflect.TypeFor[pointer](), reflect.TypeFor[mapping](),
		reflect.TypeFor[struct {
			A []*list
			B map[string]pointer
		}](),
	} {
		if shape := shapeOf(recursive, recursive, recursive, true); len(shape) > maxShapeLines {
			t.Errorf("%v has a shape of %d lines", recursive, len(shape))
		}
	}
}

func TestDifferencesAreNamed(t *testing.T) {
	shape := Shape{"unary", ". struct", "A int", "B string", "> struct", ">.Sum int"}
	for want, other := range map[string]Shape{
		"": slices.Clone(shape),
		"it is a unary command here, a stream command on the server": {"stream", ". struct", "A int", "B string", "> struct", ">.Sum int"},
		"field A is int here, int64 on the server":                   {"unary", ". struct", "A int64", "B string", "> struct", ">.Sum int"},
		"field B (string) is unknown to the server":                  {"unary", ". struct", "A int", "> struct", ">.Sum int"},
		"field C (bool) of the server is unknown here":               {"unary", ". struct", "A int", "B string", "C bool", "> struct", ">.Sum int"},
		"field A has another place among the fields on the server":   {"unary", ". struct", "B string", "A int", "> struct", ">.Sum int"},
		"field Sum of the result is int here, string on the server":  {"unary", ". struct", "A int", "B string", "> struct", ">.Sum string"},
		"the result is struct here, int on the server":               {"unary", ". struct", "A int", "B string", "> int"},
		"the command is struct here, string on the server":           {"unary", ". string", "> struct", ">.Sum int"},
		"its shape differs": {"unary"},
	} {
		if got := shape.Difference(other, "server"); got != want {
			t.Errorf("Difference to %v: %q, want %q", other, got, want)
		}
		if differs := shape.Fingerprint() != other.Fingerprint(); differs != (want != "") {
			t.Errorf("the fingerprints differ: %v, want %v (%s)", differs, want != "", want)
		}
	}
	for _, odd := range [][2]Shape{{nil, shape}, {shape, nil}, {{"unary"}, shape}, {shape, append(slices.Clone(shape), shape[2])}} {
		if got := odd[0].Difference(odd[1], "server"); got != "its shape differs" {
			t.Errorf("Difference of %v to %v: %q", odd[0], odd[1], got)
		}
	}
}

func TestThePackageDoesNotCount(t *testing.T) {
	type inner struct{ X int }
	type here struct{ Inner inner }
	type there struct{ Inner struct{ X int } }
	a, b := shapeOf(reflect.TypeFor[here](), nil, reflect.TypeFor[int](), false), shapeOf(reflect.TypeFor[there](), nil, reflect.TypeFor[int](), false)
	if a.Fingerprint() != b.Fingerprint() {
		t.Errorf("%v and %v differ by the names of their types only", a, b)
	}
}

func FuzzShape(f *testing.F) {
	f.Add("", "")
	f.Add("unary\n. struct\nA int\n> int", "unary\n. struct\nB int\n> int")
	f.Add("unary\n. struct\nA int\n> int", "unary\n. struct\nA int\nA int\n> int")
	f.Add("stream\n>", "stream\n> ")
	f.Fuzz(func(t *testing.T, here, there string) {
		a, b := ParseShape(here), ParseShape(there)
		if a.String() != here {
			t.Errorf("%q became %q", here, a.String())
		}
		difference := a.Difference(b, "server")
		if (difference == "") != (here == there) {
			t.Errorf("the difference of %q and %q is %q", here, there, difference)
		}
		if (a.Fingerprint() == b.Fingerprint()) != (here == there) {
			t.Errorf("the fingerprints of %q and %q", here, there)
		}
		_ = b.Difference(a, "client")
	})
}
