package edict_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/transport"
)

// Shelf has documents, which need no lock: the commands on a document execute one after another.
type Shelf struct{ documents map[string]*strings.Builder }

// Append adds a text to a document and returns what the document says then.
type Append struct{ Document, Text string }

// OrderingKey makes Append an edict.Ordered: commands with the same key keep their order.
func (a Append) OrderingKey() string { return a.Document }

func (a Append) Exec(_ context.Context, shelf *Shelf) (string, error) {
	document, ok := shelf.documents[a.Document]
	if !ok {
		return "", edict.Errorf(edict.NotFound, "there is no %s", a.Document)
	}
	document.WriteString(a.Text)
	return document.String(), nil
}

var ShelfCommands = edict.Commands(edict.Unary[Append]())

// Commands that name a key execute in the order in which they were sent; those with other keys at the
// same time.
func Example_ordered() {
	ctx := context.Background()
	listener := transport.NewMemory()
	server := edict.NewServer(&Shelf{documents: map[string]*strings.Builder{"poem": {}, "list": {}}}, ShelfCommands)
	go server.Serve(listener)
	defer server.Close()
	client, err := edict.Dial(ctx, "memory", ShelfCommands, edict.WithDialer(listener.Dial))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	var answers []*edict.Invocation[string]
	for _, command := range []Append{{"poem", "roses"}, {"list", "milk"}, {"poem", " are"}, {"list", ", bread"}, {"poem", " red"}} {
		answer, err := edict.Start(ctx, client, command) // without waiting for the one before
		if err != nil {
			fmt.Println(err)
			return
		}
		answers = append(answers, answer)
	}
	for _, answer := range answers {
		fmt.Println(answer.Receive())
	}
	// Output:
	// roses <nil>
	// milk <nil>
	// roses are <nil>
	// milk, bread <nil>
	// roses are red <nil>
}
