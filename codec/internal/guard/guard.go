// Package guard holds what the codecs share: a search through the types reachable from a type, and
// the recovery that turns a panicking marshaler into an error.
package guard

import (
	"fmt"
	"reflect"
)

// Recover ends a panic and stores it in *err as an error prefixed with the codec's name. It works
// only as the deferred function itself: defer guard.Recover("json", &err).
func Recover(codec string, err *error) {
	if cause := recover(); cause != nil {
		*err = fmt.Errorf("%s: panic: %v", codec, cause)
	}
}

// Walk calls visit for t and for each type reachable from it, once per type, and goes into a type's
// element, key and fields if visit says to descend. The path leads from t to the type that is
// visited, for example "Order.Items[].Price". Struct fields for which include is false are left
// out. Walk returns the first error of visit.
func Walk(
	t reflect.Type, include func(reflect.StructField) bool,
	visit func(path string, t reflect.Type) (descend bool, err error),
) error {
	seen := map[reflect.Type]bool{}
	var walk func(path string, t reflect.Type) error
	walk = func(path string, t reflect.Type) error {
		if seen[t] {
			return nil
		}
		seen[t] = true
		descend, err := visit(path, t)
		if err != nil || !descend {
			return err
		}
		switch t.Kind() {
		case reflect.Pointer:
			return walk(path, t.Elem())
		case reflect.Slice, reflect.Array:
			return walk(path+"[]", t.Elem())
		case reflect.Map:
			if err := walk(path+"[key]", t.Key()); err != nil {
				return err
			}
			return walk(path+"[]", t.Elem())
		case reflect.Struct:
			for field := range t.Fields() {
				if !include(field) {
					continue
				}
				if err := walk(path+"."+field.Name, field.Type); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return walk(t.String(), t)
}
