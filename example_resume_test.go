package edict_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/edicttest"
	"github.com/edict-go/edict/journal"
)

// Deposit must not happen twice.
type Deposit struct{ Amount int }

func (d Deposit) Exec(_ context.Context, bank *Bank) (int, error) {
	bank.Balance += d.Amount
	return bank.Balance, nil
}

// Bank is a receiver.
type Bank struct{ Balance int }

var BankCommands = edict.Commands(edict.Unary[Deposit]())

// A call whose connection breaks goes on over the next one.
func ExampleWithResume() {
	ctx := context.Background()
	network := edicttest.New(edicttest.Config{})
	listener, err := network.Listen("bank")
	if err != nil {
		fmt.Println(err)
		return
	}
	bank := &Bank{}
	server := edict.NewServer(bank, BankCommands, edict.WithResume(edict.Resume{}))
	go server.Serve(listener)
	defer server.Close()

	client, err := edict.Dial(ctx, "bank", BankCommands, edict.WithResume(edict.Resume{}), edict.WithDialer(network.Dialer("bank")))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	// The answer does not come through: the connection is cut after its header.
	network.Connections()[0].CutAfter(edicttest.ToClient, edicttest.InFrame(0, 16))
	fmt.Println(edict.Call(ctx, client, Deposit{Amount: 5}))
	fmt.Println(edict.Call(ctx, client, Deposit{Amount: 5}))
	fmt.Println("resumed:", client.Stats().Resumed)
	// Output:
	// 5 <nil>
	// 10 <nil>
	// resumed: 1
}

// A server that remembers what became of commands when it is started again.
func ExampleResume_journal() {
	dir, err := os.MkdirTemp("", "edict")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "journal")

	kept, err := journal.Open(path, journal.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer kept.Close()
	server := edict.NewServer(&Bank{}, BankCommands, edict.WithResume(edict.Resume{Journal: kept}))
	listener, err := server.Listen("tcp://127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go server.Serve(listener)
	defer server.Close()

	address := "tcp://" + listener.Addr().String()
	client, err := edict.Dial(context.Background(), address, BankCommands, edict.WithResume(edict.Resume{}))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	fmt.Println(edict.Call(context.Background(), client, Deposit{Amount: 5}))
	fmt.Println(kept.Stats().Commands, "command is kept until the client says that it has the result")
	// Output:
	// 5 <nil>
	// 1 command is kept until the client says that it has the result
}
