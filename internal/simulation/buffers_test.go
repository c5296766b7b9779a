package simulation

import (
	"fmt"
	"runtime"
	"strings"
	"sync"

	"github.com/edict-go/edict/core"
)

// buffers knows all buffers that are out, from the beginning of the process. A buffer that is released
// twice or used afterwards is noticed at once, or by its poison in what someone receives; one that is
// lost, at the end of its life.
var buffers = &bufferAudit{out: map[*core.Buffer]lent{}}

type bufferAudit struct {
	mu       sync.Mutex // guards the following; held briefly, since a bubble's clock stops while one waits for it
	life     int        // of a seed, the present one
	out      map[*core.Buffer]lent
	problems []string
}

// lent is what is known of a buffer that is out.
type lent struct {
	life int
	by   [12]uintptr // who got it
}

// poison is what a buffer has in it after its release.
const poison = 0xDB

// Got implements core.BufferAudit.
func (a *bufferAudit) Got(buffer *core.Buffer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.out[buffer]; ok {
		a.problems = append(a.problems, "a buffer was given to two owners")
	}
	l := lent{life: a.life}
	runtime.Callers(3, l.by[:])
	a.out[buffer] = l
}

// Released implements core.BufferAudit.
func (a *bufferAudit) Released(buffer *core.Buffer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.out[buffer]; !ok {
		a.problems = append(a.problems, "a buffer was released twice, the second time by "+callers())
	}
	delete(a.out, buffer)
	whole := buffer.Bytes[:cap(buffer.Bytes)]
	for i := range whole {
		whole[i] = poison
	}
}

// begin is called before a seed's life, end after it, when nothing of it moves any more.
func (a *bufferAudit) begin() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.life, a.problems = a.life+1, nil
}

// end returns what is wrong with the buffers of the seed. dropped says that an Invocation was cancelled and
// never received from again, which is allowed: results that came meanwhile are garbage with it.
func (a *bufferAudit) end(dropped bool) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	problems := a.problems
	for buffer, l := range a.out {
		if l.life != a.life {
			continue
		}
		by := trace(l.by[:])
		switch {
		case strings.Contains(by, "core.(*call).encode"), strings.Contains(by, "handler.(*task).Scratch"):
			// These belong to a call or a task, which is kept for the next one, or to the garbage collector.
		case dropped && strings.Contains(by, "core.(*Client).read"):
		default:
			problems = append(problems, fmt.Sprintf("a buffer of %d bytes was not released, got by %s", cap(buffer.Bytes), by))
		}
	}
	return problems
}

func callers() string {
	var by [12]uintptr
	runtime.Callers(4, by[:])
	return trace(by[:])
}

// trace returns the names of the functions, the innermost first.
func trace(by []uintptr) string {
	var names []string
	frames := runtime.CallersFrames(by)
	for {
		frame, more := frames.Next()
		if frame.Function != "" {
			names = append(names, frame.Function[strings.LastIndex(frame.Function, "/")+1:])
		}
		if !more {
			return strings.Join(names, " < ")
		}
	}
}
