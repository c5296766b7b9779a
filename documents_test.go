package edict_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The pages' Go code is quoted from examples, so that it compiles and does what is said.
func TestPagesQuoteTheExamples(t *testing.T) {
	for page, test := range map[string]struct {
		blocks   int // at least
		examples []string
	}{
		"README.md":         {10, []string{"example*_test.go", "group/example*_test.go", "examples/calc/*/*.go", "bridge/grpc/example_test.go", "otel/example_test.go"}},
		"docs/resume.md":    {3, []string{"example*_test.go"}},
		"docs/telemetry.md": {6, []string{"otel/example_test.go"}},
		"docs/operating.md": {3, []string{"examples/shop/commands/*.go", "edictdebug/example_test.go", "dynamic/example_test.go", "example_reflection_test.go"}},
		"docs/text.md":      {1, []string{"textmode_test.go"}},
		"docs/from-grpc.md": {6, []string{"bridge/grpc/example_test.go", "examples/grpc/*.go"}},
	} {
		var sources []string
		for _, pattern := range test.examples {
			files, err := filepath.Glob(pattern)
			if err != nil || len(files) == 0 {
				t.Fatalf("%s: %d files, %v", pattern, len(files), err)
			}
			for _, file := range files {
				sources = append(sources, withoutIndent(readFile(t, file)))
			}
		}
		blocks := regexp.MustCompile("(?ms)^```go$(.*?)^```$").FindAllStringSubmatch(readFile(t, page), -1)
		if len(blocks) < test.blocks {
			t.Errorf("%s has only %d blocks of Go code", page, len(blocks))
		}
		for _, block := range blocks {
			quoted := withoutIndent(block[1])
			if !slices.ContainsFunc(sources, func(source string) bool { return strings.Contains(source, quoted) }) {
				t.Errorf("%s has code that is in no example:\n%s", page, block[1])
			}
		}
	}
}

// withoutIndent returns text with the white space around each line removed.
func withoutIndent(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return "\n" + strings.Join(lines, "\n") + "\n"
}

// ARCHITECTURE.md names functions and files that exist.
func TestArchitectureNamesWhatExists(t *testing.T) {
	known := map[string]bool{}
	for _, dir := range []string{
		".", "core", "codec", "transport", "delegate", "handler", "auth", "group", "journal", "bridge/grpc", "otel", "dynamic", "text", "edictdebug",
	} {
		collectNames(t, dir, known)
	}
	name := regexp.MustCompile(`^[A-Za-z]+(\.[A-Za-z]+)+$`)
	checked := 0
	for _, match := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(readFile(t, "ARCHITECTURE.md"), -1) {
		text := match[1]
		switch {
		case text == "net.Conn", text == "context.AfterFunc": // not ours
		case strings.HasSuffix(text, "/"), strings.HasSuffix(text, ".go"), strings.HasPrefix(text, "."):
			checked++
			if _, err := os.Stat(text); err != nil && text != "doc.go" {
				t.Errorf("ARCHITECTURE.md: %v", err)
			}
		case name.MatchString(text):
			checked++
			if !known[text] {
				t.Errorf("ARCHITECTURE.md names %s, which does not exist", text)
			}
		}
	}
	if checked < 80 {
		t.Errorf("only %d names were checked", checked)
	}
}

// Each code of a failure is explained, and none that there is not.
func TestFailureCodesAreExplained(t *testing.T) {
	codes := map[string]bool{}
	for _, match := range regexp.MustCompile(`FailureCode = "([a-z.]+)"`).FindAllStringSubmatch(readFile(t, "core/failure.go"), -1) {
		codes[match[1]] = true
	}
	explained := map[string]bool{}
	for _, match := range regexp.MustCompile("(?m)^\\| `([a-z]+\\.[a-z]+)` \\|").FindAllStringSubmatch(readFile(t, "docs/operating.md"), -1) {
		explained[match[1]] = true
	}
	if len(codes) < 15 || !maps.Equal(codes, explained) {
		t.Errorf("there are %v, explained are %v", slices.Sorted(maps.Keys(codes)), slices.Sorted(maps.Keys(explained)))
	}
}

// The pages link to files that exist.
func TestPagesLinkToWhatExists(t *testing.T) {
	for _, page := range []string{
		"README.md", "ARCHITECTURE.md", "docs/resume.md", "docs/from-grpc.md", "docs/telemetry.md", "docs/operating.md", "docs/text.md", "bridge/grpc/PROTOCOL.md",
	} {
		text := regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(readFile(t, page), "")
		for _, match := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), match[1])); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}

// collectNames adds the functions, types, methods and fields of the package in dir: as in
// core.NewClient, core.Client, core.Client.Start and Client.Start, core.Client.mu and Client.mu.
func collectNames(t *testing.T, dir string, known map[string]bool) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		pkg := parsed.Name.Name
		for _, declaration := range parsed.Decls {
			switch d := declaration.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil {
					known[pkg+"."+d.Name.Name] = true
				} else {
					addMember(known, pkg, typeName(d.Recv.List[0].Type), d.Name.Name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if typeSpec, ok := spec.(*ast.TypeSpec); ok {
						known[pkg+"."+typeSpec.Name.Name] = true
						addFields(known, pkg, typeSpec)
					}
				}
			}
		}
	}
}

func addFields(known map[string]bool, pkg string, spec *ast.TypeSpec) {
	structure, ok := spec.Type.(*ast.StructType)
	if !ok {
		return
	}
	for _, field := range structure.Fields.List {
		for _, name := range field.Names {
			addMember(known, pkg, spec.Name.Name, name.Name)
		}
	}
}

func addMember(known map[string]bool, pkg, of, name string) {
	known[pkg+"."+of+"."+name] = true
	known[of+"."+name] = true
}

// typeName returns the name of a method's receiver.
func typeName(receiver ast.Expr) string {
	switch e := receiver.(type) {
	case *ast.StarExpr:
		return typeName(e.X)
	case *ast.IndexExpr:
		return typeName(e.X)
	case *ast.IndexListExpr:
		return typeName(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
