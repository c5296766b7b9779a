// Package commands has the shop's commands: those of the front, which customers call, and those of the warehouses, which
// the front calls.
package commands

import (
	"context"
	"sync/atomic"

	"github.com/edict-go/edict"
)

// ShopCommands are the front's.
var ShopCommands = edict.Commands(
	edict.Unary[Order](),
	edict.Unary[Look](),
	edict.ServerStream[Replicas](),
)

// Shop is the receiver of the front's commands.
type Shop struct {
	// Holds and Reads send commands to the warehouses. Reads are hedged and holds are not, because a hedge of a hold would
	// hold two of the article.
	Holds, Reads edict.Sender[*Warehouse]
	// Look tells what is known of the warehouses.
	Look func() []Replica

	orders atomic.Int64
}

// Order buys an article.
type Order struct{ Article string }

// Receipt is what an Order results in.
type Receipt struct {
	Number    int64
	Warehouse string
}

// Exec runs at the front, which lets a warehouse hold the article.
func (o Order) Exec(ctx context.Context, shop *Shop) (Receipt, error) {
	hold, err := edict.Call(ctx, shop.Holds, Reserve(o))
	if err != nil {
		return Receipt{}, err
	}
	return Receipt{Number: shop.orders.Add(1), Warehouse: hold.Warehouse}, nil
}

// Look asks how many of an article are held at the moment, at any of the warehouses.
type Look struct{ Article string }

// Exec runs at the front.
func (l Look) Exec(ctx context.Context, shop *Shop) (int, error) {
	return edict.Call(ctx, shop.Reads, Held(l))
}

// Idempotent makes Look an edict.Idempotent.
func (Look) Idempotent() bool { return true }

// Replicas tells what the front knows of the warehouses, one result for each in each group.
type Replicas struct{}

// Replica is a warehouse as a group of the front sees it.
type Replica struct {
	Group, Address, Connection, Breaker, Latency string
	InFlight                                     int
}

// Exec runs at the front.
func (Replicas) Exec(_ context.Context, shop *Shop, out edict.Sink[Replica]) error {
	for _, replica := range shop.Look() {
		if err := out.Send(replica); err != nil {
			return err
		}
	}
	return nil
}

// Idempotent makes Replicas an edict.Idempotent.
func (Replicas) Idempotent() bool { return true }
