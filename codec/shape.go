package codec

import (
	"encoding"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"reflect"
	"slices"
	"strings"
)

// Shape describes a command and its result, one fact a line: first "unary", "stream" or "duplex", then a line
// for each field, with its path and type, as in "Customer.Name string" or "Items[] struct". Lines of
// the result begin with ">", those of an input with "<". Fields are in the order of their declaration, because that is the order
// in which codecs without names write them. What a type with its own encoding consists of is its own
// affair: it is one line, with the type's name.
type Shape []string

// maxShapeLines bounds a shape; what is beyond is not compared. maxPointers bounds how far pointers to
// pointers are followed, for types like type P *P.
const (
	maxShapeLines = 512
	maxPointers   = 16
)

// Fingerprint returns a number that differs, for all that can be expected, where the shape does
// (FNV-1a, 64 bits, over the lines, each ended by a newline).
func (s Shape) Fingerprint() uint64 {
	hash := fnv.New64a()
	for _, line := range s {
		_, _ = hash.Write([]byte(line))
		_, _ = hash.Write([]byte{'\n'})
	}
	return hash.Sum64()
}

// String returns the lines joined by newlines; ParseShape is the reverse.
func (s Shape) String() string { return strings.Join(s, "\n") }

// ParseShape parses what String returned.
func ParseShape(text string) Shape { return strings.Split(text, "\n") }

// Difference says in what the shape of a command here differs from that on the other side, naming
// the first field concerned, or returns "" if it doesn't. there is what the other side is called.
func (s Shape) Difference(other Shape, there string) string {
	if slices.Equal(s, other) {
		return ""
	}
	if len(s) == 0 || len(other) == 0 {
		return "its shape differs"
	}
	if s[0] != other[0] {
		return fmt.Sprintf("it is a %s command here, a %s command on the %s", s[0], other[0], there)
	}
	if len(s) == 1 || len(other) == 1 {
		return "its shape differs" // the other side has left out the fields
	}
	for _, line := range s[1:] {
		path, kind := cutLine(line)
		found := slices.IndexFunc(other[1:], func(line string) bool { p, _ := cutLine(line); return p == path })
		if found < 0 {
			return fmt.Sprintf("%s (%s) is unknown to the %s", describe(path), kind, there)
		}
		if _, theirs := cutLine(other[1+found]); theirs != kind {
			return fmt.Sprintf("%s is %s here, %s on the %s", describe(path), kind, theirs, there)
		}
	}
	for _, line := range other[1:] {
		path, kind := cutLine(line)
		if !slices.ContainsFunc(s[1:], func(line string) bool { p, _ := cutLine(line); return p == path }) {
			return fmt.Sprintf("%s (%s) of the %s is unknown here", describe(path), kind, there)
		}
	}
	for i, line := range s {
		if i >= len(other) || other[i] != line {
			path, _ := cutLine(line)
			return fmt.Sprintf("%s has another place among the fields on the %s", describe(path), there)
		}
	}
	return "its shape differs"
}

func cutLine(line string) (path, kind string) {
	path, kind, _ = strings.Cut(line, " ")
	return path, kind
}

// describe names a path for people.
func describe(path string) string {
	for prefix, what := range map[string]string{">": "the result", "<": "the input"} {
		if rest, ok := strings.CutPrefix(path, prefix); ok {
			if rest = strings.TrimPrefix(rest, "."); rest == "" {
				return what
			}
			return "field " + rest + " of " + what
		}
	}
	if path == "." {
		return "the command"
	}
	return "field " + path
}

// shapeOf returns the shape of a command. input is nil if it takes none.
func shapeOf(command, input, result reflect.Type, stream bool) Shape {
	w := shapeWriter{lines: Shape{"unary"}}
	switch {
	case input != nil:
		w.lines[0] = "duplex"
	case stream:
		w.lines[0] = "stream"
	}
	w.add("", command)
	if input != nil {
		w.add("<", input)
	}
	w.add(">", result)
	return w.lines
}

// shapeWriter collects the lines of a shape.
type shapeWriter struct {
	lines Shape
	stack []reflect.Type // the structs being described, to end recursion
}

var (
	textMarshaler   = reflect.TypeFor[encoding.TextMarshaler]()
	binaryMarshaler = reflect.TypeFor[encoding.BinaryMarshaler]()
	jsonMarshaler   = reflect.TypeFor[json.Marshaler]()
)

// opaque reports whether values of t encode themselves, as time.Time does.
func opaque(t reflect.Type) bool {
	if t.Name() == "" || t.Kind() == reflect.Interface {
		return false
	}
	pointer := reflect.PointerTo(t)
	return pointer.Implements(textMarshaler) || pointer.Implements(binaryMarshaler) || pointer.Implements(jsonMarshaler)
}

// add describes the value of type t at path.
func (w *shapeWriter) add(path string, t reflect.Type) {
	if len(w.lines) >= maxShapeLines {
		return
	}
	kind := ""
	for depth := 0; t.Kind() == reflect.Pointer && depth < maxPointers; depth++ {
		t, kind = t.Elem(), "*"
	}
	if path == "" || path == ">" || path == "<" {
		kind = "" // a command or result is there, pointer or not
	}
	if opaque(t) {
		w.line(path, kind+t.String())
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		w.addStruct(path, kind, t)
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 && t.Kind() == reflect.Slice {
			w.line(path, kind+"bytes")
			return
		}
		if t.Kind() == reflect.Array {
			kind += fmt.Sprintf("[%d]", t.Len())
		} else {
			kind += "[]"
		}
		w.line(path, kind)
		w.add(path+"[]", t.Elem())
	case reflect.Map:
		w.line(path, kind+"map")
		w.add(path+"[key]", t.Key())
		w.add(path+"[]", t.Elem())
	case reflect.Interface:
		w.line(path, kind+"any")
	default:
		w.line(path, kind+t.Kind().String())
	}
}

func (w *shapeWriter) line(path, kind string) {
	if path == "" {
		path = "."
	}
	w.lines = append(w.lines, path+" "+kind)
}

func (w *shapeWriter) addStruct(path, kind string, t reflect.Type) {
	if slices.Contains(w.stack, t) {
		w.line(path, kind+"recursive "+t.Name())
		return
	}
	w.stack = append(w.stack, t)
	defer func() { w.stack = w.stack[:len(w.stack)-1] }()
	w.line(path, kind+"struct")
	if path != "" {
		path += "."
	}
	for field := range t.Fields() {
		// JSON writes the fields of embedded structs also if their type is not exported.
		if field.IsExported() || field.Anonymous && field.Type.Kind() == reflect.Struct {
			w.add(path+field.Name, field.Type)
		}
	}
}
