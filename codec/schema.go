package codec

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Schema describes a value for people and tools that have no Go type of it, in JSON.
type Schema struct {
	// Type is "struct", "list", "array", "map", "bytes", "any", "recursive", the name of a basic type, as in "int64", or
	// of one with an encoding of its own, as in "time.Time".
	Type string `json:"type"`
	// TypeName is the type's name, if it is a struct that has one.
	TypeName string `json:"type_name,omitempty"`
	// Optional is true of a pointer: null stands for none.
	Optional bool `json:"optional,omitempty"`
	// Length is that of an array.
	Length int `json:"length,omitempty"`
	// Fields are those of a struct, Key and Element of a map; Element also of lists and arrays.
	Fields  []Field `json:"fields,omitempty"`
	Key     *Schema `json:"key,omitempty"`
	Element *Schema `json:"element,omitempty"`
}

// Field is a field of a struct.
type Field struct {
	// Name is the field's name in JSON, Go that in Go, if it is another one.
	Name string `json:"name"`
	Go   string `json:"go,omitempty"`
	// Embedded is true if its own fields stand in its place.
	Embedded bool `json:"embedded,omitempty"`
	Schema
}

// Description is what a Registry knows of a command, but for its types.
type Description struct {
	Name string `json:"name"`
	// Kind is "unary", "stream" or "duplex".
	Kind string `json:"kind"`
	// Ordered is true if some of these commands may have to wait for each other.
	Ordered bool `json:"ordered,omitempty"`
	// Fingerprint is that of Shape, in 16 hexadecimal digits.
	Fingerprint string `json:"fingerprint"`
	Shape       Shape  `json:"shape"`
	// Command, Input and Result describe the values; nil if there is none, or if it has an encoding of its own, which is
	// Format then.
	Command *Schema `json:"command,omitempty"`
	Input   *Schema `json:"input,omitempty"`
	Result  *Schema `json:"result,omitempty"`
	Format  string  `json:"format,omitempty"`
}

// Describe returns the description of the command.
func (d Definition[T]) Describe() Description {
	shape := d.Shape()
	description := Description{Name: d.name, Kind: shape[0], Shape: shape, Fingerprint: fmt.Sprintf("%016x", shape.Fingerprint())}
	if d.foreign || d.raw {
		if len(shape) > 1 {
			_, description.Format = cutLine(shape[1])
		}
		return description
	}
	description.Ordered = d.ordered
	description.Command, description.Result = schemaOf(d.command, true), schemaOf(d.result, true)
	if d.input != nil {
		description.Input = schemaOf(d.input, true)
	}
	return description
}

// schemaOf describes t by the rules of Shape. A command, input or result is there, pointer or not.
func schemaOf(t reflect.Type, isThere bool) *Schema {
	w := schemaWriter{left: maxShapeLines}
	s := w.describe(t)
	s.Optional = s.Optional && !isThere
	return &s
}

type schemaWriter struct {
	left  int            // how many more types are described
	stack []reflect.Type // the structs being described, to end recursion
}

func (w *schemaWriter) describe(t reflect.Type) (s Schema) {
	if w.left--; w.left < 0 {
		return Schema{Type: "any"} // and so on
	}
	for depth := 0; t.Kind() == reflect.Pointer && depth < maxPointers; depth++ {
		t, s.Optional = t.Elem(), true
	}
	if opaque(t) {
		s.Type = t.String()
		return s
	}
	switch t.Kind() {
	case reflect.Struct:
		s.TypeName = t.Name()
		if slices.Contains(w.stack, t) {
			s.Type = "recursive"
			return s
		}
		s.Type = "struct"
		w.stack = append(w.stack, t)
		defer func() { w.stack = w.stack[:len(w.stack)-1] }()
		for field := range t.Fields() {
			if described, ok := w.field(field); ok {
				s.Fields = append(s.Fields, described)
			}
		}
	case reflect.Slice, reflect.Array:
		if t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8 {
			s.Type = "bytes"
			return s
		}
		s.Type = "list"
		if t.Kind() == reflect.Array {
			s.Type, s.Length = "array", t.Len()
		}
		element := w.describe(t.Elem())
		s.Element = &element
	case reflect.Map:
		s.Type = "map"
		key, element := w.describe(t.Key()), w.describe(t.Elem())
		s.Key, s.Element = &key, &element
	case reflect.Interface:
		s.Type = "any"
	default:
		s.Type = t.Kind().String()
	}
	return s
}

// field describes a field, unless JSON leaves it out.
func (w *schemaWriter) field(field reflect.StructField) (Field, bool) {
	if !field.IsExported() && (!field.Anonymous || field.Type.Kind() != reflect.Struct) {
		return Field{}, false
	}
	tag := field.Tag.Get("json")
	if tag == "-" {
		return Field{}, false
	}
	described := Field{Name: field.Name, Schema: w.describe(field.Type)}
	if name, _, _ := strings.Cut(tag, ","); name != "" && name != field.Name {
		described.Name, described.Go = name, field.Name
	} else if field.Anonymous && described.Type == "struct" && name == "" {
		described.Embedded = true
	}
	return described, true
}

// String returns the schema on a line, as in "{A int, B []string?}".
func (s *Schema) String() string {
	if s == nil {
		return "–"
	}
	text := s.Type
	switch s.Type {
	case "struct":
		var fields []string
		for _, field := range s.Fields {
			if field.Embedded {
				inner := field.Schema.String()
				fields = append(fields, strings.TrimSuffix(strings.TrimPrefix(inner, "{"), "}"))
			} else {
				fields = append(fields, field.Name+" "+field.Schema.String())
			}
		}
		text = "{" + strings.Join(fields, ", ") + "}"
	case "list":
		text = "[]" + s.Element.String()
	case "array":
		text = fmt.Sprintf("[%d]%s", s.Length, s.Element)
	case "map":
		text = fmt.Sprintf("map[%s]%s", s.Key, s.Element)
	case "recursive":
		text = s.TypeName
	}
	if s.Optional {
		text += "?"
	}
	return text
}

// Signature returns the command on a line, as in "Add {A int, B int} → int"; of a stream "→ int…", of one with inputs
// "← string… → int…".
func (d Description) Signature() string {
	many := ""
	if d.Kind != "unary" {
		many = "…"
	}
	if d.Format != "" {
		return d.Name + " (" + d.Format + ")"
	}
	text := d.Name + " " + d.Command.String()
	if d.Input != nil {
		text += " ← " + d.Input.String() + "…"
	}
	return text + " → " + d.Result.String() + many
}
