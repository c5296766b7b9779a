package handler

import "sync"

// workers are goroutines that serve the task queues of connections, kept for a while when idle.
type workers struct {
	maxIdle int
	group   sync.WaitGroup

	mu     sync.Mutex // guards the following; held briefly
	idle   []chan *Connection
	closed bool
}

// serve has some worker run connection.work. It never waits.
func (w *workers) serve(connection *Connection) {
	w.mu.Lock()
	if n := len(w.idle); n > 0 {
		worker := w.idle[n-1] // the last one: its stack is warm
		w.idle = w.idle[:n-1]
		w.mu.Unlock()
		worker <- connection
		return
	}
	w.mu.Unlock()
	w.group.Go(func() { w.work(connection) })
}

// work serves connections until it is not needed any more.
//
// Started by serve; ends when enough workers are idle or after stop; Invoker.Wait waits for it. A command
// that calls runtime.Goexit ends it too, which harms nothing: it is not the one that others count
// on while it runs a command (Connection.searching).
func (w *workers) work(connection *Connection) {
	wake := make(chan *Connection, 1)
	for connection != nil {
		connection.work()
		w.mu.Lock()
		if w.closed || len(w.idle) >= w.maxIdle {
			w.mu.Unlock()
			return
		}
		w.idle = append(w.idle, wake)
		w.mu.Unlock()
		connection = <-wake
	}
}

// stop ends the idle workers, and each of the others when it becomes idle.
func (w *workers) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for _, wake := range w.idle {
		wake <- nil
	}
	w.idle = nil
}
