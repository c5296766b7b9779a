package codec

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"
)

type tree struct {
	Left, Right *tree
	Leaves      []leaf
	ByName      map[string]*leaf
	Any         any
	Raw         []byte
	Grid        [2][3]int8
	Born        time.Time
	embedded
	_ int
}

type leaf struct {
	Green bool `json:"green,omitempty"`
}

type embedded struct{ Inner *time.Time }

// lines returns the lines of a shape that belong to a schema: what is said of a type in one way is said in the other.
func (s *Schema) lines(path string) (lines []string) {
	kind := ""
	if s.Optional {
		kind = "*"
	}
	switch s.Type {
	case "list":
		lines = s.Element.lines(path + "[]")
		kind += "[]"
	case "array":
		lines = s.Element.lines(path + "[]")
		kind += fmt.Sprintf("[%d]", s.Length)
	case "map":
		lines = append(s.Key.lines(path+"[key]"), s.Element.lines(path+"[]")...)
		kind += "map"
	case "recursive":
		kind += "recursive " + s.TypeName
	default:
		kind += s.Type
	}
	inner := path
	if path == "" {
		path = "."
	} else {
		inner += "."
	}
	for _, field := range s.Fields {
		name := field.Name
		if field.Go != "" {
			name = field.Go
		}
		lines = append(lines, field.lines(inner+name)...)
	}
	return append([]string{path + " " + kind}, lines...)
}

func TestASchemaSaysWhatTheShapeSays(t *testing.T) {
	for _, of := range []reflect.Type{
		reflect.TypeFor[tree](), reflect.TypeFor[*tree](), reflect.TypeFor[[]map[int]leaf](), reflect.TypeFor[string](),
		reflect.TypeFor[time.Duration](), reflect.TypeFor[**leaf](), reflect.TypeFor[any](), reflect.TypeFor[[]byte](),
	} {
		shape := shapeOf(of, nil, reflect.TypeFor[int](), false)
		if got, want := schemaOf(of, true).lines(""), []string(shape[1:len(shape)-1]); !slices.Equal(got, want) {
			t.Errorf("%v:\nschema %q\nshape  %q", of, got, want)
		}
	}
}

// A type without end has a schema with one.
func TestASchemaIsBounded(t *testing.T) {
	type (
		ten     [10]struct{ A, B, C, D, E, F, G, H, I, J int }
		hundred struct{ A, B, C, D, E, F, G, H, I, J ten }
		many    struct{ A, B, C, D, E, F, G, H, I, J hundred }
	)
	if lines := schemaOf(reflect.TypeFor[many](), true).lines(""); len(lines) > 10*maxShapeLines {
		t.Errorf("%d lines", len(lines))
	}
}
