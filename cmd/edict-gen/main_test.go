package main

import (
	"bytes"
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// module is a user's module in a temporary folder, outside of our workspace, that has edict-gen as
// its tool.
type module struct {
	t   *testing.T
	dir string
}

// newModule makes the module example with the given files, each under its slash-separated name.
func newModule(t *testing.T, files map[string]string) module {
	t.Helper()
	t.Setenv("GOWORK", "off")
	t.Setenv("GOFLAGS", "-mod=mod")
	repository, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	m := module{t, t.TempDir()}
	// The tool's requirements stand for what "go get -tool" would add.
	requirements, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(requirements), "\nrequire")
	m.write("go.mod", strings.NewReplacer("REPOSITORY", repository, "REQUIRE", "require"+rest).Replace(`module example

go 1.26.0

REQUIRE

require (
	github.com/edict-go/edict v0.0.0
	github.com/edict-go/edict/cmd/edict-gen v0.0.0
)

replace (
	github.com/edict-go/edict => REPOSITORY
	github.com/edict-go/edict/cmd/edict-gen => REPOSITORY/cmd/edict-gen
)
`))
	var sums []byte
	for _, file := range []string{"go.sum", "../../go.sum"} {
		sum, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, sum...)
	}
	m.write("go.sum", string(sums))
	for name, content := range files {
		m.write(name, content)
	}
	return m
}

func (m module) write(name, content string) {
	m.t.Helper()
	file := filepath.Join(m.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

func (m module) read(name string) string {
	m.t.Helper()
	content, err := os.ReadFile(filepath.Join(m.dir, filepath.FromSlash(name)))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(content)
}

// generate runs edict-gen in the folder calc.
func (m module) generate(arguments ...string) error {
	return run(filepath.Join(m.dir, "calc"), arguments, &bytes.Buffer{})
}

func (m module) mustGenerate(arguments ...string) {
	m.t.Helper()
	if err := m.generate(arguments...); err != nil {
		m.t.Fatal(err)
	}
}

// wantError runs edict-gen and wants an error that has each of the strings.
func (m module) wantError(arguments []string, want ...string) {
	m.t.Helper()
	err := m.generate(arguments...)
	if err == nil {
		m.t.Fatalf("no error, want %q", want)
	}
	for _, part := range want {
		if !strings.Contains(err.Error(), part) {
			m.t.Errorf("error %v\nlacks %q", err, part)
		}
	}
}

// goes runs the go command and wants it to succeed.
func (m module) goes(arguments ...string) string {
	m.t.Helper()
	command := exec.Command("go", arguments...)
	command.Dir = m.dir
	output, err := command.CombinedOutput()
	if err != nil {
		m.t.Fatalf("go %s: %v\n%s", strings.Join(arguments, " "), err, output)
	}
	return string(output)
}

const plainCommands = `package calc

import "context"

type Calc struct{}

type Add struct{ A, B int }

func (a Add) Exec(context.Context, *Calc) (int, error) { return a.A + a.B, nil }
`

// TestGenerate generates for a package of everything that is supported, most of it in a form that
// could go wrong, and runs a test of the result.
func TestGenerate(t *testing.T) {
	m := newModule(t, map[string]string{
		"calc/calc.go": `package calc

import (
	"context"
	"time"

	"example/internal/shapes"
	other "example/v2/shapes"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/codec"
	"github.com/edict-go/edict/core"
)

// Codec refers to what is not generated yet, and so does Serializer.
var Codec codec.TypedCodec = MUS

var Serializer = AddMUS

type Calc interface{ Add(a, b int) int }

type Add struct{ A, B int }

func (a Add) Exec(ctx context.Context, calc Calc) (int, error) { return calc.Add(a.A, a.B), nil }

// add differs from Add in its case only.
type add struct{ secret []byte }

func (*add) Exec(context.Context, Calc) (*Result, error) { return nil, nil }

type (
	Result struct {
		When    time.Time
		Stamp   Stamp
		For     time.Duration
		Times   []time.Time
		ByName  map[string][]*Result
		Square  [2][2]float32
		Pages   Page[int]
		Items   Page[Item]
		Shape   shapes.Shape
		Other   other.Shape
		Pointer Pointer
		Matrix  Matrix
		Words   map[Word]struct1
		Letter  rune
		hidden  uint8
		Embedded
		*Item
	}
	Embedded struct{ Deep bool }
	Item     struct{ Name string }
	struct1  struct{}
	Stamp    time.Time
	Pointer  *int
	Matrix   [][]byte
	Word     string
	Page[T any] struct {
		Of   []T
		Next []Page[T]
	}
	// Mutual recursion.
	Even struct{ Odd *Odd }
	Odd  struct{ Evens map[string]Even }
)

type Watch struct{ Even Even }

func (Watch) Exec(context.Context, Calc, core.Sink[[]shapes.Kind]) error { return nil }

type Follow struct{ Name Word }

func (Follow) Exec(context.Context, Calc, edict.Sink[Matrix]) error { return nil }

type Clear struct{}

func (Clear) Exec(context.Context, Calc) (struct{}, error) { return struct{}{}, nil }

// Query is no command.
type Query struct{}

func (Query) Exec(query string, arguments ...any) error { return nil }

type Interface interface {
	Exec(context.Context, Calc) (int, error)
}
`,
		"internal/shapes/shapes.go": "package shapes\n\ntype Shape struct{ Sides int }\n\ntype Kind uint8\n",
		"v2/shapes/shapes.go":       "package shapes\n\ntype Shape struct{ Name string }\n",
		"calc/calc_test.go": `package calc

import (
	"math"
	"testing"
	"time"

	"example/internal/shapes"
	other "example/v2/shapes"

	"github.com/edict-go/edict/codec/codectest"
)

func Test(t *testing.T) {
	one := 1
	result := Result{
		When: time.Time{}, Stamp: Stamp(time.Unix(1, 2).UTC()), For: 3, Times: []time.Time{time.Unix(4, 5)},
		ByName: map[string][]*Result{"a": {nil, {Letter: 'ä'}}}, Square: [2][2]float32{{1, 2}, {3, math.MaxFloat32}},
		Pages: Page[int]{Of: []int{-1}, Next: []Page[int]{{Of: []int{2}}}}, Items: Page[Item]{Of: []Item{{"b"}}},
		Shape: shapes.Shape{Sides: 6}, Other: other.Shape{Name: "c"}, Pointer: &one,
		Matrix: Matrix{{1}, {2, 200}}, Words: map[Word]struct1{"d": {}}, hidden: 255,
		Embedded: Embedded{Deep: true}, Item: &Item{"e"},
	}
	codectest.Conformance(t, Codec, result)
	codectest.Conformance(t, Codec, &result)
	codectest.Conformance(t, Codec, Add{1, 2})
	codectest.Conformance(t, Codec, &add{[]byte("f")})
	codectest.Conformance(t, Codec, Watch{Even{&Odd{map[string]Even{"g": {&Odd{}}}}}})
	codectest.Conformance(t, Codec, []shapes.Kind{1, 200})
	codectest.Conformance(t, Codec, Clear{})
	codectest.Conformance(t, Codec, Follow{"h"})
	codectest.Conformance(t, Codec, Matrix{{1}})
	codectest.Conformance(t, Codec, 7)
	if Serializer.Size(Add{}) != 2 {
		t.Error("the serializer that a variable refers to is not the generated one")
	}
}
`,
	})
	m.mustGenerate()
	generated := m.read("calc/edict_mus.gen.go")
	if !strings.HasPrefix(generated, "// Code generated by edict-gen with musgen-go. DO NOT EDIT.\n\npackage calc\n") {
		t.Errorf("the file starts with %.100q", generated)
	}
	if formatted, err := format.Source([]byte(generated)); err != nil || string(formatted) != generated {
		t.Errorf("not formatted, error %v", err)
	}
	m.goes("vet", "./calc")
	m.goes("test", "./calc")

	// A second run starts with the file present, and leaves it alone.
	file := filepath.Join(m.dir, "calc", "edict_mus.gen.go")
	long := time.Unix(1_000_000_000, 0)
	if err := os.Chtimes(file, long, long); err != nil {
		t.Fatal(err)
	}
	m.mustGenerate()
	if info, err := os.Stat(file); err != nil || !info.ModTime().Equal(long) {
		t.Errorf("written again, as\n%s", m.read("calc/edict_mus.gen.go"))
	}

	// Nor does it depend on the file: a broken one is replaced by the same.
	m.write("calc/edict_mus.gen.go", "package calc\n\nvar MUS = AddMUS + 1 //")
	m.mustGenerate()
	if again := m.read("calc/edict_mus.gen.go"); again != generated {
		t.Errorf("the second run wrote something else:\n%s", again)
	}
}

// TestRepository tests that what is generated in this repository is up to date.
func TestRepository(t *testing.T) {
	dir, err := filepath.Abs(filepath.FromSlash("../../codec/mus/internal/commands"))
	if err != nil {
		t.Fatal(err)
	}
	const name = "edict_mus.gen.go"
	want, err := produce(dir, options{fileName: name, variable: "MUS"})
	if err != nil {
		t.Fatal(err)
	}
	if present, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(present, want) {
		t.Errorf("%s is not up to date, error %v: run go generate", filepath.Join(dir, name), err)
	}
}

// TestTool runs edict-gen as a user does, after go get -tool.
func TestTool(t *testing.T) {
	m := newModule(t, map[string]string{
		"calc/calc.go": "//go:generate go tool edict-gen -o codec.go -var Codec\n" + plainCommands,
	})
	m.goes("get", "-tool", "github.com/edict-go/edict/cmd/edict-gen@v0.0.0")
	m.goes("mod", "tidy")
	if requirements := m.read("go.mod"); !strings.Contains(requirements, "github.com/mus-format/musgen-go") {
		t.Errorf("the module lacks musgen-go:\n%s", requirements)
	}
	m.goes("generate", "./calc")
	m.goes("mod", "tidy")
	m.goes("vet", "./calc")
	if generated := m.read("calc/codec.go"); !strings.Contains(generated, "\nvar Codec = mus.New(") {
		t.Errorf("no Codec in\n%s", generated)
	}
}

func TestNewTypeInStaleFile(t *testing.T) {
	m := newModule(t, map[string]string{"calc/calc.go": plainCommands})
	m.mustGenerate()
	m.write("calc/sub.go", "package calc\n\nimport \"context\"\n\ntype Sub struct{ A, B int }\n\n"+
		"func (s Sub) Exec(context.Context, *Calc) (int, error) { return s.A - s.B, nil }\n\nvar _ = SubMUS\n")
	m.mustGenerate()
	m.goes("vet", "./calc")
	// And back: the file mentions a type that is gone.
	if err := os.Remove(filepath.Join(m.dir, "calc", "sub.go")); err != nil {
		t.Fatal(err)
	}
	m.mustGenerate()
	m.goes("vet", "./calc")
}

// TestUnsupported wants every field that can't be encoded to be named, in one run.
func TestUnsupported(t *testing.T) {
	m := newModule(t, map[string]string{
		"calc/calc.go": plainCommands + `
type Bad struct {
	Any      any
	Chan     chan int
	Call     func()
	Complex  complex128
	Uintptr  uintptr
	Double   **int
	Unnamed  []struct{ X int }
	Nothings []Nothing
	Set      map[Nothing]Nothing
	Location locationHolder
	Err      error
	_        int
	Named    Doubly
	Void     map[string]struct{}
	Pages    []*Generic[int]
}

type (
	Nothing        struct{}
	locationHolder struct{ Where *time.Location }
	Doubly         **int
)

func (Bad) Exec(context.Context, *Calc) (Generic[int], error) { return Generic[int]{}, nil }

type Generic[T any] struct{ Value T }

func (Generic[T]) Exec(context.Context, *Calc) (T, error) { panic(0) }
`,
	})
	m.write("calc/calc.go", strings.Replace(m.read("calc/calc.go"), `import "context"`, "import (\n\t\"context\"\n\t\"time\"\n)", 1))
	m.wantError(nil,
		"calc.go:15:2: Bad.Any is of interface type",
		"Bad.Chan is of type chan int",
		"Bad.Call is of type func()",
		"Bad.Complex is of type complex128",
		"Bad.Uintptr is of type uintptr",
		"Bad.Double is a pointer to a pointer",
		"Bad.Unnamed[] is an unnamed struct",
		"Bad.Nothings has elements without fields",
		"Bad.Set has elements without fields",
		"locationHolder.Where is of type time.Location, whose field name is unexported",
		"Bad.Err is of interface type error",
		"Bad._ has no name",
		"Bad.Named is a pointer to a pointer",
		"Bad.Void[] is of type struct{}",
		"Bad.Pages[] is a pointer to the generic type Generic[int]",
		"Generic is generic",
		"-skip Generic",
	)
	m.wantError([]string{"-skip", "Bad,Generic,Add"}, "no commands in package example/calc")
	m.mustGenerate("-skip", "Bad, Generic")
	m.goes("vet", "./calc")
}

func TestPackageErrors(t *testing.T) {
	m := newModule(t, map[string]string{"calc/README": "nothing"})
	m.wantError(nil, "no Go files")
	m.write("calc/calc.go", strings.Replace(plainCommands, "package calc", "package main", 1))
	m.wantError(nil, "package main, which can't be imported", "move them")
	m.write("calc/calc.go", plainCommands+"\nvar AddMUS int\n")
	m.wantError(nil, "AddMUS is declared here", "the serializer of Add needs the name")
	m.write("calc/calc.go", plainCommands+"\nvar ord int\n")
	m.wantError(nil, "ord is declared here")
	m.write("calc/calc.go", plainCommands+"\nvar broken int = \"text\"\n")
	m.wantError(nil, "calc.go:11:", "cannot use")
	m.write("calc/calc.go", plainCommands+"\nfunc {")
	m.wantError(nil, "calc.go:11:")
	m.write("calc/calc.go", plainCommands+"\nfunc init() { panic(\"no database\") }\n")
	m.wantError(nil, "which imports example/calc, failed", "no database")
	m.write("calc/calc.go", plainCommands+"\nfunc init() { println(\"hello\"); print(MUS.Name()) }\n")
	m.mustGenerate()
}

func TestFlags(t *testing.T) {
	m := newModule(t, map[string]string{"calc/calc.go": plainCommands})
	m.wantError([]string{"-o", "../x.go"}, "-o ../x.go")
	m.wantError([]string{"-o", "x_test.go"}, "-o x_test.go")
	m.wantError([]string{"-var", "a b"}, "-var a b")
	m.wantError([]string{"more"}, "unexpected argument")
	m.wantError([]string{"-nonsense"}, "nonsense")
	var help bytes.Buffer
	if err := run(m.dir, []string{"-h"}, &help); err == nil || !strings.Contains(help.String(), "usage: edict-gen") {
		t.Errorf("-h: %v, %s", err, &help)
	}
}
