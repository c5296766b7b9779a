package edicttest_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/edicttest"
)

// Account is a service as a user may have it.
type Account struct {
	mu      sync.Mutex
	balance int
}

type Deposit struct{ Amount int }

func (d Deposit) Exec(_ context.Context, a *Account) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.balance += d.Amount
	return a.balance, nil
}

var AccountCommands = edict.Commands(edict.Unary[Deposit]())

func startAccount(t *testing.T, network *edicttest.Network) (*Account, *edict.Client[*Account]) {
	listener, err := network.Listen("server")
	if err != nil {
		t.Fatal(err)
	}
	account := &Account{}
	server := edict.NewServer(account, AccountCommands, edict.WithLogger(slog.New(slog.NewTextHandler(t.Output(), nil))))
	go server.Serve(listener)
	t.Cleanup(func() { _ = server.Shutdown(context.Background()) })
	client, err := edict.Dial(t.Context(), "server", AccountCommands, edict.WithDialer(network.Dialer("server")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return account, client
}

// The connection is cut when the server has executed the command, in the middle of its answer.
func TestDepositWhoseAnswerIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := edicttest.New(edicttest.Config{})
		network.OnConnect(func(connection *edicttest.Connection) {
			connection.CutAfter(edicttest.ToClient, edicttest.InFrame(0, 10))
		})
		account, client := startAccount(t, network)

		_, err := edict.Call(t.Context(), client, Deposit{Amount: 10})
		if edict.OutcomeOf(err) != edict.OutcomeUnknown {
			t.Errorf("%v: the caller can't know what became of the deposit", err)
		}
		if account.balance != 10 {
			t.Errorf("the balance is %d", account.balance)
		}
		if len(network.Fired(edicttest.FaultCut)) != 1 {
			t.Error("nothing was cut: this tests nothing")
		}
	})
}

// The server answers nothing for a while. The clock is that of synctest, so the test takes no time.
func TestDepositAtAStalledServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := edicttest.New(edicttest.Config{})
		_, client := startAccount(t, network)
		connection := network.Connections()[0]
		connection.Stall(edicttest.ToClient)

		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		_, err := edict.Call(ctx, client, Deposit{Amount: 10})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 3*time.Second {
			t.Errorf("the call ended after %v with %v", time.Since(start), err)
		}

		connection.Resume(edicttest.ToClient)
		balance, err := edict.Call(t.Context(), client, Deposit{Amount: 10})
		if balance != 20 || err != nil {
			t.Errorf("when the server is back: %d, %v", balance, err)
		}
	})
}

// Wherever the answers are cut, the balance is what the callers were told, give or take what they
// can't know. Each seed runs in a bubble of its own, as by synctest.Test.
func TestDepositsWhoseAnswersAreCutAnywhere(t *testing.T) {
	edicttest.Seeds(t, 200, func(t *testing.T, seed uint64) {
		random := rand.New(rand.NewPCG(seed, 0))
		network := edicttest.New(edicttest.Config{Seed: seed, Link: edicttest.Link{Segment: 20}})
		account, client := startAccount(t, network)
		connection := network.Connections()[0]
		connection.CutAfter(edicttest.ToClient, edicttest.InFrame(random.IntN(10), random.IntN(20)))

		executed, unknown := 0, 0
		for range 10 {
			_, err := edict.Call(t.Context(), client, Deposit{Amount: 1})
			switch edict.OutcomeOf(err) {
			case edict.Executed:
				executed++
			case edict.OutcomeUnknown:
				unknown++
			}
		}
		synctest.Wait()
		if account.balance < executed || account.balance > executed+unknown {
			t.Errorf("%d deposits were executed, %d perhaps; the balance is %d", executed, unknown, account.balance)
		}
		if len(network.Fired(edicttest.FaultCut)) != 1 {
			t.Error("nothing was cut")
		}
	})
}
