package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"go/types"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
)

// standIn is the content that takes the place of the generated file while it is generated: it
// declares the same names, so that the rest of the package compiles. With a plan, it also has a
// function that returns the types to serialize, which reaches the unexported ones.
func (s *source) standIn(p *plan) []byte {
	var body bytes.Buffer
	fmt.Fprintf(&body, "\nvar %s = mus.New()\n", s.variable)
	if p != nil {
		for _, each := range p.serialized {
			fmt.Fprintf(&body, "\nvar %sMUS musgo.Serializer[%s]\n", each.name, s.expression(p, each.named))
		}
		fmt.Fprintf(&body, "\nfunc %s() []reflect.Type {\n\treturn []reflect.Type{\n", typesFunction)
		for _, each := range p.serialized {
			fmt.Fprintf(&body, "\t\treflect.TypeFor[%s](),\n", s.expression(p, each.named))
		}
		body.WriteString("\t}\n}\n")
	}

	var b bytes.Buffer
	fmt.Fprintf(&b, "package %s\n\nimport (\n\t%q\n", s.name, codecMUS)
	if p != nil {
		b.WriteString("\t\"reflect\"\n\tmusgo \"github.com/mus-format/mus-go\"\n")
		for _, path := range slices.Sorted(maps.Keys(p.imports)) {
			if bytes.Contains(body.Bytes(), []byte(p.imports[path]+".")) {
				fmt.Fprintf(&b, "\t%s %q\n", p.imports[path], path)
			}
		}
	}
	b.WriteString(")\n")
	b.Write(body.Bytes())
	return b.Bytes()
}

// typesFunction is a name that nobody else declares.
const typesFunction = "EdictGenTypes"

// expression is how the generated file writes t.
func (s *source) expression(p *plan, t types.Type) string {
	return types.TypeString(t, func(from *types.Package) string {
		if from == s.types {
			return ""
		}
		return p.imports[from.Path()]
	})
}

//go:embed program.go.tmpl
var programText string

var program = template.Must(template.New("program").Parse(programText))

// runMusgen returns what musgen-go makes of the plan's types. It runs a program in the user's
// module, below the user's package so that it may import internal ones; the program's file is in a
// temporary folder, and the go command is told that it is there.
func runMusgen(s *source, p *plan) ([]byte, error) {
	type job struct {
		Time bool
		Name string
	}
	data := struct {
		Path, Package, TypesFunction string
		Imports                      map[string]string
		Jobs                         []job
	}{s.path, s.name, typesFunction, p.imports, nil}
	for _, each := range p.serialized {
		data.Jobs = append(data.Jobs, job{Time: isTime(each.named), Name: each.name})
	}
	var main bytes.Buffer
	if err := program.Execute(&main, data); err != nil {
		return nil, err
	}

	temporary, err := os.MkdirTemp("", "edict-gen-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temporary)
	const folder = "edict_gen_program"
	var overlay struct{ Replace map[string]string }
	overlay.Replace = map[string]string{}
	for name, content := range map[string][]byte{
		s.fileName():                            s.standIn(p),
		filepath.Join(s.dir, folder, "main.go"): main.Bytes(),
	} {
		file := filepath.Join(temporary, fmt.Sprintf("%d.go", len(overlay.Replace)))
		if err := os.WriteFile(file, content, 0o600); err != nil {
			return nil, err
		}
		overlay.Replace[name] = file
	}
	description, err := json.Marshal(overlay)
	if err != nil {
		return nil, err
	}
	overlayFile := filepath.Join(temporary, "overlay.json")
	if err := os.WriteFile(overlayFile, description, 0o600); err != nil {
		return nil, err
	}

	command := exec.Command("go", "run", "-overlay", overlayFile, "./"+folder)
	command.Dir = s.dir
	var output, complaints bytes.Buffer
	command.Stdout, command.Stderr = &output, &complaints
	if err := command.Run(); err != nil {
		return nil, fmt.Errorf("the program that generates the code, which imports %s, failed: %w\n%s",
			s.path, err, strings.TrimSpace(complaints.String()))
	}
	// What the package prints when it is imported is not ours.
	_, code, found := bytes.Cut(output.Bytes(), []byte(outputMark))
	if !found {
		return nil, fmt.Errorf("the program that generates the code, which imports %s, ended early", s.path)
	}
	return code, nil
}

// outputMark goes before the code in the program's output.
const outputMark = "\n--- edict-gen ---\n"
