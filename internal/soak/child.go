package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"sync"
	"syscall"
	"time"

	"github.com/edict-go/edict/journal"
)

// childConfig is what the driver tells a process, in the flag -config.
type childConfig struct {
	Number int    // of the process among all
	Name   string // for people
	Log    string // the file of its executions or records
	Seed   uint64

	Listen      []string // server: the addresses
	Resumable   bool     // connections can be resumed
	Journal     string   // the file of its journal; "" is none
	NoSync      bool     // the journal does not wait for the disk
	Certificate string   // the file with certificate and key

	Routes  []route // client
	Callers int
	Pause   time.Duration // on average, between a caller's calls
}

// report is a line that a process writes to its standard output.
type report struct {
	// Ready has the addresses of a server that listens now; of a client it is not nil once it calls.
	Ready []string
	// Progress comes every progressEvery.
	Progress *progress `json:",omitempty"`
	// Final is the last word of a process that was drained.
	Final *final `json:",omitempty"`
}

// progress is how far a client has come.
type progress struct {
	Begun, Ended int64
	Good         map[string]int64  // calls that succeeded, by route
	Resumed      uint64            // connections
	Resent       map[string]uint64 // calls, by route
}

// final is what a process finds when it has drained.
type final struct {
	Forced        bool          // the drain was cut short by its deadline
	Took          time.Duration // of the drain
	Hung          int           // client: calls that have not ended; see report.Progress for the others
	Before, After usage
	// Journal is what the server's journal held.
	Journal *journal.Stats `json:",omitempty"`
}

// usage is what a process uses.
type usage struct {
	Goroutines int
	Files      int   // open; -1 where that can't be told
	Heap       int64 // bytes in live objects
	Resident   int64 // bytes of memory; -1 where that can't be told
}

const (
	progressEvery = 500 * time.Millisecond
	// settleTime is how long goroutines may take to end after the drain.
	settleTime = 5 * time.Second
)

// measure returns what the process uses, after a garbage collection.
func measure() usage {
	debug.FreeOSMemory()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return usage{
		Goroutines: runtime.NumGoroutine(), Files: openFiles(),
		Heap: int64(memory.HeapAlloc), Resident: residentMemory(),
	}
}

// settle measures until there are no more goroutines and files than before, for settleTime at most.
// If there are, it writes their stacks to standard error.
func settle(before usage) usage {
	deadline := time.Now().Add(settleTime)
	for {
		after := measure()
		if after.Goroutines <= before.Goroutines && after.Files <= before.Files {
			return after
		}
		if time.Now().After(deadline) {
			fmt.Fprintf(os.Stderr, "%d goroutines and %d files, %d and %d before:\n", after.Goroutines, after.Files, before.Goroutines, before.Files)
			_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 2)
			return after
		}
		<-time.After(20 * time.Millisecond)
	}
}

// child is the part of a process that talks to the driver.
type child struct {
	config childConfig
	log    *os.File
	drain  chan os.Signal // the driver wants the process to drain

	mu     sync.Mutex // guards output
	output *json.Encoder
}

// runChild is main of a process with a role. It returns the exit code.
func runChild(role, encoded string) int {
	live, ok := map[string]func(*child) error{"server": runServer, "client": runClient}[role]
	if !ok {
		return failed(fmt.Errorf("unknown role %q", role))
	}
	var config childConfig
	if err := json.Unmarshal([]byte(encoded), &config); err != nil {
		return failed(err)
	}
	log, err := os.OpenFile(config.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return failed(err)
	}
	drain := make(chan os.Signal, 1)
	signal.Notify(drain, syscall.SIGTERM)
	go endWithDriver()
	if err := live(&child{config: config, log: log, drain: drain, output: json.NewEncoder(os.Stdout)}); err != nil {
		return failed(err)
	}
	return 0
}

func failed(err error) int {
	fmt.Fprintln(os.Stderr, "soak:", err)
	return 2
}

// endWithDriver ends the process when the driver is gone, which is the other end of standard input.
//
// Started by runChild; ends with the process.
func endWithDriver() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(3)
}

func (c *child) report(r report) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.output.Encode(r) // if it fails the driver is gone, and so is this process
}
