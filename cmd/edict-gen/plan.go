package main

import (
	"cmp"
	"errors"
	"fmt"
	"go/types"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
)

// plan is what to generate.
type plan struct {
	roots      []types.Type      // commands, results and inputs that need an entry in the codec, sorted
	serialized []serialized      // all types that need a serializer, sorted
	imports    map[string]string // alias by path of the packages of other types
}

// serialized is a defined type with the name of its serializer, less the suffix MUS.
type serialized struct {
	named *types.Named
	name  string
}

// plan finds the commands and what must be serialized for them. Its error lists all that can't be.
func (s *source) plan() (*plan, error) {
	c := &closure{source: s, found: map[string]*types.Named{}, roots: map[string]types.Type{}}
	commands := 0
	for _, name := range s.types.Scope().Names() {
		object, ok := s.types.Scope().Lookup(name).(*types.TypeName)
		if !ok || object.IsAlias() || s.skip[name] {
			continue
		}
		named, ok := object.Type().(*types.Named)
		if !ok || types.IsInterface(named) {
			continue
		}
		carried, ok := s.commandShape(named)
		if !ok {
			continue
		}
		commands++
		if named.TypeParams().Len() > 0 {
			c.fail(object, name, "is generic, so its types are not known here: "+
				"define a command without type parameters, or leave it out with -skip "+name)
			continue
		}
		c.root(object, name, named)
		for i, t := range carried {
			c.root(object, name+"'s "+[]string{"result", "input"}[i], t)
		}
	}
	if commands == 0 {
		return nil, fmt.Errorf("no commands in package %s: "+
			"no type has a method Exec(ctx context.Context, receiver T) (R, error) or its like", s.path)
	}
	if len(c.errors) > 0 {
		return nil, errors.Join(c.errors...)
	}
	return c.finish()
}

// commandShape returns the types of the result and, for a duplex command, of the input, if the
// method Exec of t or of *t makes it a command.
func (s *source) commandShape(t *types.Named) (carried []types.Type, ok bool) {
	method := types.NewMethodSet(types.NewPointer(t)).Lookup(s.types, "Exec")
	if method == nil {
		return nil, false
	}
	signature := method.Type().(*types.Signature)
	in, out := signature.Params(), signature.Results()
	if signature.Variadic() || in.Len() < 2 || !isNamed(in.At(0).Type(), "context", "Context") ||
		out.Len() == 0 || out.At(out.Len()-1).Type() != types.Universe.Lookup("error").Type() {
		return nil, false
	}
	switch {
	case in.Len() == 2 && out.Len() == 2:
		return []types.Type{out.At(0).Type()}, true
	case in.Len() == 3 && out.Len() == 1:
		result, ok := streamOf(in.At(2).Type(), "Sink")
		return []types.Type{result}, ok
	case in.Len() == 4 && out.Len() == 1:
		input, isSource := streamOf(in.At(2).Type(), "Source")
		result, isSink := streamOf(in.At(3).Type(), "Sink")
		return []types.Type{result, input}, isSource && isSink
	}
	return nil, false
}

func isNamed(t types.Type, path, name string) bool {
	named, ok := types.Unalias(t).(*types.Named)
	return ok && named.Obj().Name() == name && named.Obj().Pkg() != nil && named.Obj().Pkg().Path() == path
}

// streamOf returns the R of Sink[R], or the I of Source[I], as edict or one of its packages
// declares them.
func streamOf(t types.Type, name string) (types.Type, bool) {
	const edict = "github.com/edict-go/edict"
	named, ok := types.Unalias(t).(*types.Named)
	if !ok || named.Obj().Name() != name || named.TypeArgs().Len() != 1 || named.Obj().Pkg() == nil {
		return nil, false
	}
	from := named.Obj().Pkg().Path()
	return named.TypeArgs().At(0), from == edict || strings.HasPrefix(from, edict+"/")
}

// closure collects the types reachable from the commands.
type closure struct {
	source *source
	found  map[string]*types.Named // by full name
	roots  map[string]types.Type   // by full name
	errors []error
}

func (c *closure) fail(at types.Object, path, what string) {
	c.errors = append(c.errors, fmt.Errorf("%s: %s %s", c.source.position(at), path, what))
}

// root adds a type that crosses the wire on its own. at is where to report what is wrong with it.
func (c *closure) root(at types.Object, path string, t types.Type) {
	t = types.Unalias(t)
	if pointer, ok := t.(*types.Pointer); ok {
		t = types.Unalias(pointer.Elem()) // the codec knows the pointer to each type that it knows
	}
	if isBasic(t) {
		return
	}
	c.roots[types.TypeString(t, nil)] = t
	c.visit(at, path, t)
}

// isBasic reports whether mus.New knows t.
func isBasic(t types.Type) bool {
	switch t := t.(type) {
	case *types.Basic:
		return isSupported(t)
	case *types.Slice:
		return isByte(t.Elem())
	case *types.Struct:
		return t.NumFields() == 0
	}
	return isNamed(t, "time", "Time") || isNamed(t, "time", "Duration")
}

func isByte(t types.Type) bool {
	basic, ok := types.Unalias(t).(*types.Basic)
	return ok && basic.Kind() == types.Byte
}

func isSupported(t *types.Basic) bool {
	return t.Info()&(types.IsBoolean|types.IsInteger|types.IsFloat|types.IsString) != 0 &&
		t.Kind() != types.Uintptr
}

func (c *closure) visit(at types.Object, path string, t types.Type) {
	switch t := types.Unalias(t).(type) {
	case *types.Basic:
		if !isSupported(t) {
			c.fail(at, path, "is of type "+t.String()+", which MUS can't encode: use a type of fixed size")
		}
	case *types.Pointer:
		if _, ok := t.Elem().Underlying().(*types.Pointer); ok {
			c.fail(at, path, "is a pointer to a pointer: use one pointer")
			return
		}
		if named, ok := types.Unalias(t.Elem()).(*types.Named); ok && named.TypeArgs().Len() > 0 {
			// musgen-go forgets the type arguments.
			c.fail(at, path, "is a pointer to the generic type "+c.source.nameOf(named)+
				": use the type itself, or a slice")
			return
		}
		c.visit(at, path, t.Elem())
	case *types.Slice:
		if isEmpty(t.Elem()) {
			c.fail(at, path, "has elements without fields, whose number nothing would bound: "+
				"use a count, or give them a field")
			return
		}
		c.visit(at, path+"[]", t.Elem())
	case *types.Array:
		c.visit(at, path+"[]", t.Elem())
	case *types.Map:
		if isEmpty(t.Key()) && isEmpty(t.Elem()) {
			c.fail(at, path, "has elements without fields, whose number nothing would bound")
			return
		}
		c.visit(at, path+"[key]", t.Key())
		c.visit(at, path+"[]", t.Elem())
	case *types.Struct:
		if t.NumFields() == 0 {
			c.fail(at, path, "is of type struct{}: use bool, or a defined type")
		} else {
			c.fail(at, path, "is an unnamed struct: give its type a name")
		}
	case *types.Named:
		c.visitNamed(at, path, t)
	case *types.Interface:
		c.fail(at, path, "is of interface type "+t.String()+
			": use a concrete type, or one pointer for each that it can be")
	default:
		c.fail(at, path, "is of type "+t.String()+", which can't be sent")
	}
}

func (c *closure) visitNamed(at types.Object, path string, t *types.Named) {
	if isNamed(t, "time", "Time") {
		return
	}
	object := t.Obj()
	key := types.TypeString(t, nil)
	if _, done := c.found[key]; done {
		return
	}
	here := object.Pkg() == c.source.types
	switch {
	case object.Pkg() == nil || types.IsInterface(t):
		c.fail(at, path, "is of interface type "+c.source.nameOf(t)+
			": use a concrete type, or one pointer for each that it can be")
		return
	case object.Parent() != object.Pkg().Scope():
		c.fail(at, path, "is of type "+object.Name()+", which is declared in a function: move it out")
		return
	case !here && !object.Exported():
		c.fail(at, path, "is of the unexported type "+c.source.nameOf(t)+
			": use one that this package can name")
		return
	}
	c.found[key] = t
	if isTime(t) {
		return
	}
	fields, ok := t.Underlying().(*types.Struct)
	if !ok {
		c.visitUnderlying(at, path, t)
		return
	}
	for field := range fields.Fields() {
		// A field is best reported where it is declared, if that is in this package.
		place := at
		within := path + "." + field.Name()
		if here {
			place, within = field, object.Name()+"."+field.Name()
		}
		switch {
		case field.Name() == "_":
			c.fail(place, within, "has no name, so it can't be encoded: name it or remove it")
		case !here && !field.Exported():
			c.fail(at, path, fmt.Sprintf("is of type %s, whose field %s is unexported in another package: "+
				"copy what you need to a type of your own", c.source.nameOf(t), field.Name()))
			return
		default:
			c.visit(place, within, field.Type())
		}
	}
}

func (c *closure) visitUnderlying(at types.Object, path string, t *types.Named) {
	if pointer, ok := t.Underlying().(*types.Pointer); ok {
		if _, ok := pointer.Elem().Underlying().(*types.Pointer); ok {
			c.fail(at, path, "is a pointer to a pointer: use one pointer")
			return
		}
	}
	c.visit(at, path, t.Underlying())
}

// isTime reports whether t is defined as time.Time.
func isTime(t *types.Named) bool {
	fields, ok := t.Underlying().(*types.Struct)
	return ok && fields.NumFields() == 3 && fields.Field(0).Pkg().Path() == "time" &&
		fields.Field(0).Name() == "wall"
}

// isEmpty reports whether values of t take no bytes.
func isEmpty(t types.Type) bool {
	fields, ok := t.Underlying().(*types.Struct)
	if !ok {
		return false
	}
	for field := range fields.Fields() {
		if !isEmpty(field.Type()) {
			return false
		}
	}
	return true
}

// reserved are the names that the generated file may import.
var reserved = []string{
	"com", "dts", "ext", "mus", "ord", "raw", "unsafe", "varint",
	"arrops", "bslops", "mapops", "slops", "strops", "reflect", "fmt",
}

// finish gives names to serializers and packages, in an order that depends on nothing but the types.
func (c *closure) finish() (*plan, error) {
	p := &plan{imports: map[string]string{}}
	for _, t := range c.roots {
		p.roots = append(p.roots, t)
	}
	for _, t := range c.found {
		p.serialized = append(p.serialized, serialized{named: t})
	}
	here := c.source.types
	key := func(t types.Type) string {
		// The package's own types come first.
		return types.TypeString(t, func(from *types.Package) string {
			if from == here {
				return " "
			}
			return from.Path()
		})
	}
	slices.SortFunc(p.roots, func(a, b types.Type) int { return cmp.Compare(key(a), key(b)) })
	slices.SortFunc(p.serialized, func(a, b serialized) int { return cmp.Compare(key(a.named), key(b.named)) })

	scope := here.Scope()
	aliases := map[string]bool{}
	for _, name := range reserved {
		aliases[name] = true
	}
	var foreign []*types.Package
	for _, each := range p.serialized {
		addPackages(&foreign, each.named)
	}
	for _, t := range p.roots {
		addPackages(&foreign, t)
	}
	slices.SortFunc(foreign, func(a, b *types.Package) int { return cmp.Compare(a.Path(), b.Path()) })
	for _, from := range slices.Compact(foreign) {
		if from == here {
			continue
		}
		alias := from.Name()
		for n := 2; aliases[alias] || scope.Lookup(alias) != nil; n++ {
			alias = fmt.Sprint(from.Name(), n)
		}
		aliases[alias] = true
		p.imports[from.Path()] = alias
	}

	taken := map[string]bool{c.source.variable: true}
	for i, each := range p.serialized {
		name := serializerName(each.named, here)
		for n := 2; taken[name+"MUS"]; n++ {
			name = fmt.Sprint(serializerName(each.named, here), n)
		}
		taken[name+"MUS"] = true
		for _, declared := range []string{name + "MUS", lowerFirst(name) + "MUS"} {
			if object := scope.Lookup(declared); object != nil {
				return nil, fmt.Errorf("%s: %s is declared here, and the serializer of %s needs the name",
					c.source.position(object), declared, each.named.Obj().Name())
			}
		}
		p.serialized[i].name = name
	}
	for _, name := range reserved {
		if object := scope.Lookup(name); object != nil {
			return nil, fmt.Errorf("%s: %s is declared here, and the generated file may import a package "+
				"of this name: rename it", c.source.position(object), name)
		}
	}
	return p, nil
}

// addPackages adds the packages of the types that t and its definition name.
func addPackages(to *[]*types.Package, t types.Type) {
	for _, t := range []types.Type{t, t.Underlying()} {
		_ = types.TypeString(t, func(from *types.Package) string {
			*to = append(*to, from)
			return ""
		})
	}
}

// serializerName is the type's own name, with the package's before it unless that is here, and with
// its type arguments' after it.
func serializerName(t *types.Named, here *types.Package) string {
	name := upperFirst(t.Obj().Name())
	if t.Obj().Pkg() != here {
		name = upperFirst(t.Obj().Pkg().Name()) + name
	}
	for argument := range t.TypeArgs().Types() {
		for word := range strings.FieldsFuncSeq(
			types.TypeString(argument, (*types.Package).Name),
			func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) },
		) {
			name += upperFirst(word)
		}
	}
	return name
}

func upperFirst(s string) string {
	runes := []rune(s)
	runes[0] = unicode.ToUpper(runes[0])
	return string(runes)
}

func lowerFirst(s string) string {
	runes := []rune(s)
	runes[0] = unicode.ToLower(runes[0])
	return string(runes)
}

// position is where object is declared, as file:line:column.
func (s *source) position(object types.Object) string {
	position := s.fileSet.Position(object.Pos())
	position.Filename = filepath.Base(position.Filename)
	return position.String()
}

// nameOf is how people of the package call t.
func (s *source) nameOf(t types.Type) string {
	return types.TypeString(t, types.RelativeTo(s.types))
}
