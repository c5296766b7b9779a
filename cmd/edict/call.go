package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/spf13/cobra"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/dynamic"
)

// maxLine bounds a line of input, in bytes.
const maxLine = 4 << 20

func (a *application) callCommand() *cobra.Command {
	var metadata []string
	var pretty bool
	command := &cobra.Command{
		Use:   "call ADDRESS COMMAND [JSON]",
		Short: "Execute a command",
		Long: `call executes a command of a server. JSON is the command, {} if it is left out, standard input if it is - .
Results are written one a line, as they come. The inputs of a command that takes some are read from standard input,
one a line in JSON. --timeout bounds the whole call and travels with it; 0 is for ever.`,
		Example: `  edict call 127.0.0.1:9000 Add '{"A":2,"B":3}'
  edict call 127.0.0.1:9000 Count '{"To":3}'
  printf '1\n2\n3\n' | edict call 127.0.0.1:9000 Sum
  edict call unix:///run/shop.sock Watch --timeout 0 --metadata tenant=7`,
		Args:              cobra.RangeArgs(2, 3),
		ValidArgsFunction: a.completeNames,
		RunE: func(command *cobra.Command, arguments []string) error {
			body := "{}"
			if len(arguments) == 3 {
				body = arguments[2]
			}
			return a.call(command.Context(), arguments[0], arguments[1], body, metadata, pretty)
		},
	}
	command.Flags().StringArrayVarP(&metadata, "metadata", "m", nil, "KEY=VALUE to send beside the command; may be repeated")
	command.Flags().BoolVar(&pretty, "pretty", false, "write results in several lines, indented")
	return command
}

// metadataOf parses KEY=VALUE pairs.
func metadataOf(pairs []string) (edict.Metadata, error) {
	metadata := edict.Metadata{}
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, usagef("--metadata %q: KEY=VALUE is wanted", pair)
		}
		metadata.Add(key, value)
	}
	return metadata, nil
}

func (a *application) call(ctx context.Context, address, name, body string, pairs []string, pretty bool) error {
	metadata, err := metadataOf(pairs)
	if err != nil {
		return err
	}
	fromInput := body == "-"
	if !fromInput && !json.Valid([]byte(body)) {
		return usagef("the command is not JSON: %s", body)
	}
	client, err := a.dialDynamic(ctx, address)
	if err != nil {
		return err
	}
	defer client.Close()
	description, ok := client.Command(name)
	if !ok {
		return usagef("the server has no command %q: see edict commands %s", name, address)
	}
	if description.Kind == "duplex" && fromInput {
		return usagef("%s takes inputs from standard input, so the command can't come from there", name)
	}
	if fromInput {
		content, err := io.ReadAll(io.LimitReader(a.in, maxLine))
		if err != nil {
			return failed(exitOther, err)
		}
		if body = string(content); !json.Valid(content) {
			return usagef("the command is not JSON: %s", body)
		}
	}
	ctx, cancel := a.within(ctx)
	defer cancel()
	for result, err := range a.results(ctx, client, description.Kind, name, body, metadata) {
		if err != nil {
			return failed(exitCall, err)
		}
		var line bytes.Buffer
		if pretty {
			err = json.Indent(&line, result, "", "  ")
		} else {
			err = json.Compact(&line, result)
		}
		if err == nil {
			line.WriteByte('\n')
			_, err = a.out.Write(line.Bytes())
		}
		if err != nil {
			return failed(exitOther, err)
		}
	}
	return nil
}

// results executes a command of any kind.
func (a *application) results(ctx context.Context, client *dynamic.Client, kind, name, body string, metadata edict.Metadata) iter.Seq2[json.RawMessage, error] {
	with := dynamic.WithMetadata(metadata)
	switch kind {
	case "stream":
		return client.Stream(ctx, name, body, with)
	case "duplex":
		return client.Duplex(ctx, name, body, lines(a.in), with)
	}
	return func(yield func(json.RawMessage, error) bool) { yield(client.Call(ctx, name, body, with)) }
}

// lines returns the lines of a reader as inputs, but for empty ones.
func lines(r io.Reader) iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) {
		scanner := bufio.NewScanner(r)
		scanner.Buffer(nil, maxLine)
		for scanner.Scan() {
			line := bytes.TrimSpace(scanner.Bytes())
			if len(line) > 0 && !yield(json.RawMessage(bytes.Clone(line)), nil) {
				return
			}
		}
		if err := scanner.Err(); err != nil {
			yield(nil, fmt.Errorf("standard input: %w", err))
		}
	}
}
