package leak

import (
	"strings"
	"testing"
	"time"
)

func TestWaitNamesAGoroutineThatStays(t *testing.T) {
	release := make(chan struct{})
	ended := make(chan struct{})
	go stayUntil(release, ended)
	left := Wait(10 * time.Millisecond)
	if len(left) != 1 || !strings.Contains(left[0], "stayUntil") {
		t.Errorf("want the stack of stayUntil, got %q", left)
	}
	close(release)
	<-ended
	if left := Wait(grace); len(left) > 0 {
		t.Errorf("want nothing left, got %q", left)
	}
}

func stayUntil(release <-chan struct{}, ended chan<- struct{}) {
	<-release
	close(ended)
}
