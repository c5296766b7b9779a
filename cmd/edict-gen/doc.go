// Command edict-gen writes MUS serializers for the commands of a package.
//
// Add the tool to your module once:
//
//	go get -tool github.com/edict-go/edict/cmd/edict-gen
//
// put this line into a package of commands, and run go generate:
//
//	//go:generate go tool edict-gen
//
// It writes edict_mus.gen.go, which has a serializer for every type that the package's commands
// carry, and one variable to use them with, in place of json.Codec:
//
//	var MUS = mus.New(...)
//
// The flags are
//
//	-o name     the file to write, in the package's folder (default edict_mus.gen.go)
//	-var name   the variable to declare (default MUS)
//	-skip list  types, separated by commas, that have an Exec method but are no commands
//
// # What it finds
//
// Commands are the types of the package whose method Exec has one of the shapes
//
//	Exec(ctx context.Context, receiver T) (R, error)
//	Exec(ctx context.Context, receiver T, results edict.Sink[R]) error
//	Exec(ctx context.Context, receiver T, inputs edict.Source[I], results edict.Sink[R]) error
//
// Serializers are written for the commands, for R and I, and for all types that these contain, in
// this package or another. All fields are encoded, the unexported ones too; types of other packages
// must have exported fields only. Types defined as time.Time, and time.Time itself, keep their
// nanoseconds and are decoded in UTC.
//
// There is no encoding for interfaces, channels, functions, complex numbers, pointers to pointers,
// fields of an unnamed struct type, and slices or maps of structs without fields. The error names
// the field.
//
// # How it works
//
// The serializers are made by musgen-go, which needs the types at run time. So edict-gen runs a
// program that imports your package, whose init functions and package variables are therefore
// evaluated, with an empty MUS. That is also why package main is not possible. The program exists in
// the build cache only, and the generated file need not exist or be up to date: meanwhile a stand-in
// declares the same names.
package main
