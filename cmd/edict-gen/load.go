package main

import (
	"errors"
	"fmt"
	"go/build"
	"go/token"
	"go/types"
	"path/filepath"
	"strings"

	"golang.org/x/tools/go/packages"
)

// source is the user's package, type-checked with a stand-in for the generated file.
type source struct {
	options
	dir     string
	name    string
	path    string
	types   *types.Package
	fileSet *token.FileSet
}

const loadMode = packages.NeedName | packages.NeedFiles | packages.NeedImports | packages.NeedTypes |
	packages.NeedTypesSizes | packages.NeedSyntax | packages.NeedTypesInfo

// load type-checks the package in dir, as far as it can be while the generated file is missing.
func load(dir string, o options) (*source, error) {
	found, err := build.ImportDir(dir, build.ImportComment)
	var nothing *build.NoGoError
	switch {
	case errors.As(err, &nothing):
		return nil, fmt.Errorf("no Go files in %s", dir)
	case err != nil:
		return nil, err
	case found.Name == "main":
		return nil, errors.New("the commands are in package main, which can't be imported: " +
			"move them to a package of their own")
	}
	s := &source{options: o, dir: dir, name: found.Name}
	checked, err := s.check(s.standIn(nil))
	if err != nil {
		return nil, err
	}
	for _, err := range checked.Errors {
		// All others may be due to what is to be generated; if not, they come back when it is there.
		if err.Kind == packages.ParseError || checked.Types == nil {
			return nil, err
		}
	}
	s.path, s.types, s.fileSet = checked.PkgPath, checked.Types, checked.Fset
	return s, nil
}

func (s *source) fileName() string { return filepath.Join(s.dir, s.options.fileName) }

// check type-checks the package with content as its generated file.
func (s *source) check(content []byte) (*packages.Package, error) {
	loaded, err := packages.Load(&packages.Config{
		Mode:    loadMode,
		Dir:     s.dir,
		Overlay: map[string][]byte{s.fileName(): content},
	}, ".")
	if err != nil {
		return nil, err
	}
	if len(loaded) != 1 {
		return nil, fmt.Errorf("%d packages in %s", len(loaded), s.dir)
	}
	return loaded[0], nil
}

// compiles reports why the package does not compile with output as its generated file.
func (s *source) compiles(output []byte) error {
	checked, err := s.check(output)
	if err != nil {
		return err
	}
	var all []string
	for _, err := range checked.Errors {
		if err.Kind == packages.TypeError || checked.Types == nil { // the others say the same again
			all = append(all, err.Error())
		}
	}
	if len(all) > 0 {
		return fmt.Errorf("the package does not compile with the generated code:\n%s", strings.Join(all, "\n"))
	}
	return nil
}
