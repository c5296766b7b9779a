package core_test

import (
	"testing"

	"github.com/edict-go/edict/core"
)

func TestCredit(t *testing.T) {
	var c core.Credit
	c.Set(100)
	for _, body := range [][]byte{nil, {1}, {0, 0, 0, 0}, {255, 255, 255, 255}, {1, 0, 0, 0, 0}} {
		if c.Add(body) {
			t.Errorf("credit % x is accepted", body)
		}
	}
	if c.Take(150) != nil { // overdrawn by one message
		t.Fatal("there was credit, and it is not given")
	}
	wait := c.Take(1)
	if wait == nil || wait != c.Take(1) {
		t.Fatal("credit out of nothing")
	}
	if !c.Add(core.CreditBody(50)) { // back to 0
		t.Fatal("credit is refused")
	}
	select {
	case <-wait: // look again
	default:
		t.Error("those who wait are not told")
	}
	if c.Take(1) == nil {
		t.Error("credit out of nothing")
	}
	c.Add(core.CreditBody(1))
	if c.Take(1) != nil {
		t.Error("there was credit, and it is not given")
	}
	if c.Set(1 << 40); c.Add(core.CreditBody(1)) {
		t.Error("credit beyond the bound is accepted")
	}
}
