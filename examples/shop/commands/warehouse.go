package commands

import (
	"context"
	"sync"
	"time"

	"github.com/edict-go/edict"
)

// WarehouseCommands are the warehouses'.
var WarehouseCommands = edict.Commands(
	edict.Unary[Reserve](),
	edict.Unary[Held](),
	edict.Unary[Fail](),
	edict.Unary[Crash](),
)

// Articles are what there is.
var Articles = []string{"tea", "jam", "scones", "butter", "cups", "spoons", "honey", "lemons", "sugar", "milk"}

// taxed are the articles that are audited: each auditEvery-th that is held.
var taxed = map[string]bool{"tea": true}

const auditEvery = 15

// Warehouse is the receiver of the warehouses' commands. Each of them holds articles of its own.
type Warehouse struct {
	Name  string
	Audit *Audit
	// Exit ends the process. Crash calls it.
	Exit func()

	mu         sync.Mutex // guards the following
	held       map[string]int
	failsUntil time.Time
}

// NewWarehouse returns a warehouse that holds nothing yet.
func NewWarehouse(name string, audit *Audit, exit func()) *Warehouse {
	held := map[string]int{}
	for _, article := range Articles {
		held[article] = 0
	}
	return &Warehouse{Name: name, Audit: audit, Exit: exit, held: held}
}

// Reserve holds an article for a customer.
type Reserve struct{ Article string }

// Hold is an article that is held.
type Hold struct {
	Warehouse string
	Number    int
}

// OrderingKey makes Reserve an edict.Ordered: those of an article go one after the other, as their numbers do.
func (r Reserve) OrderingKey() string { return r.Article }

// Idempotent makes Reserve an edict.Idempotent: it is tried again though it may have run. In a real shop a hold that
// nobody pays for lapses, so that one too many does no harm.
func (Reserve) Idempotent() bool { return true }

// Exec runs at a warehouse.
func (r Reserve) Exec(ctx context.Context, warehouse *Warehouse) (Hold, error) {
	number, err := warehouse.hold(r.Article)
	if err != nil {
		return Hold{}, err
	}
	if taxed[r.Article] && number%auditEvery == 0 {
		if err := warehouse.Audit.Record(ctx, Hold{r.Article, number}); err != nil {
			return Hold{}, err
		}
	}
	return Hold{warehouse.Name, number}, nil
}

func (w *Warehouse) hold(article string) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.held[article]; !ok {
		return 0, edict.Errorf(edict.NotFound, "we have no %q", article)
	}
	w.held[article]++
	return w.held[article], nil
}

// Held asks how many of an article are held.
type Held struct{ Article string }

// Exec runs at a warehouse.
func (h Held) Exec(_ context.Context, warehouse *Warehouse) (int, error) {
	warehouse.mu.Lock()
	defer warehouse.mu.Unlock()
	held, ok := warehouse.held[h.Article]
	if !ok {
		return 0, edict.Errorf(edict.NotFound, "we have no %q", h.Article)
	}
	return held, nil
}

// Idempotent makes Held an edict.Idempotent.
func (Held) Idempotent() bool { return true }

// Fail makes a warehouse refuse to hold and to tell for some seconds from now, as one does that has lost its database.
type Fail struct{ Seconds int }

// Exec runs at a warehouse.
func (f Fail) Exec(_ context.Context, warehouse *Warehouse) (string, error) {
	if f.Seconds < 0 || f.Seconds > 60 {
		return "", edict.Errorf(edict.InvalidArgument, "%d seconds: between 0 and 60 are possible", f.Seconds)
	}
	warehouse.mu.Lock()
	defer warehouse.mu.Unlock()
	warehouse.failsUntil = time.Now().Add(time.Duration(f.Seconds) * time.Second)
	if f.Seconds == 0 {
		return warehouse.Name + " works", nil
	}
	return warehouse.Name + " fails", nil
}

// Failing reports whether the warehouse fails at the moment. An interceptor of its server asks.
func (w *Warehouse) Failing() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Before(w.failsUntil)
}

// Crash ends the process of a warehouse in the middle of what it does.
type Crash struct{}

// Exec runs at a warehouse.
func (Crash) Exec(_ context.Context, warehouse *Warehouse) (string, error) {
	warehouse.Exit()
	return "", edict.Errorf(edict.Internal, "%s lives on", warehouse.Name)
}
