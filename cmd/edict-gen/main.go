package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"strings"

	// The program that edict-gen runs in the user's module imports it, so the module that has this
	// tool must have it too.
	_ "github.com/mus-format/musgen-go/mus"
)

func main() {
	if err := run(".", os.Args[1:], os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "edict-gen:", err)
		}
		os.Exit(1)
	}
}

// options are the flags, checked.
type options struct {
	fileName string
	variable string
	skip     map[string]bool
}

// run generates the serializers of the package in dir.
func run(dir string, arguments []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("edict-gen", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: edict-gen [flags]\n\n"+
			"Writes MUS serializers for the commands of the package in the current folder.")
		flags.PrintDefaults()
	}
	o := options{skip: map[string]bool{}}
	flags.StringVar(&o.fileName, "o", "edict_mus.gen.go", "the `name` of the file to write")
	flags.StringVar(&o.variable, "var", "MUS", "the `name` of the variable to declare")
	skip := flags.String("skip", "", "a `list` of types that are no commands, separated by commas")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case filepath.Base(o.fileName) != o.fileName || !strings.HasSuffix(o.fileName, ".go") ||
		strings.HasSuffix(o.fileName, "_test.go"):
		return fmt.Errorf("-o %s is not the name of a Go file", o.fileName)
	case !token.IsIdentifier(o.variable):
		return fmt.Errorf("-var %s is not an identifier", o.variable)
	}
	for name := range strings.SplitSeq(*skip, ",") {
		o.skip[strings.TrimSpace(name)] = true
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	return generate(dir, o)
}

// generate writes the file, unless it is up to date.
func generate(dir string, o options) error {
	output, err := produce(dir, o)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, o.fileName)
	if present, err := os.ReadFile(file); err == nil && bytes.Equal(present, output) {
		return nil
	}
	return os.WriteFile(file, output, 0o644)
}

// produce returns the content of the file.
func produce(dir string, o options) ([]byte, error) {
	source, err := load(dir, o)
	if err != nil {
		return nil, err
	}
	plan, err := source.plan()
	if err != nil {
		return nil, err
	}
	serializers, err := runMusgen(source, plan)
	if err != nil {
		return nil, err
	}
	output, err := finish(serializers, source, plan)
	if err != nil {
		return nil, err
	}
	return output, source.compiles(output)
}
