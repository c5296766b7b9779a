package handler

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/edict-go/edict/core"
)

// ConnectionConfig is what the handshake has settled for one connection.
type ConnectionConfig struct {
	// Executors and Names are the commands by the numbers that the handshake gave them. An executor
	// is nil if the server doesn't know the command.
	Executors []core.Executor
	Names     []string
	// MaxInFlight is how many commands the client may have in flight, as it was told.
	MaxInFlight int
	// Window is how many bytes of results the client takes per stream before it gives more credit.
	Window int
	// InputWindow is how many bytes of inputs a command may have under way at first, as the client was told;
	// MaxInputWindow how far that may grow, 0 is not at all.
	InputWindow, MaxInputWindow int
	// Account is what the connection takes of a core.Budget, which it closes at its end; nil is one of
	// core.DefaultBudget.
	Account *core.Account
	// Compressor compresses results and inflates commands and inputs; nil if no compression was agreed on.
	Compressor *core.Compressor
	Peer       core.Peer
	// Journal, if not nil, remembers what becomes of numbered commands of a client that has met Challenge.
	Journal   core.Journal
	Challenge core.Challenge
	// KeepaliveInterval is how long nothing may be received before the client gets a PING, and
	// KeepaliveTimeout how long nothing may come after that before the connection is given up. An interval
	// of 0 is never. See core.Keepalive.
	KeepaliveInterval, KeepaliveTimeout time.Duration
}

// Connection is the server's side of one connection.
type Connection struct {
	invoker   *Invoker
	transport core.Transport
	config    ConnectionConfig
	account   *core.Account
	flow      core.Flow

	// calls finds the contexts of the commands in flight by slot. The read loop alone changes calls, under mu, and
	// stores contexts; the worker that ends a command clears the cell. Cells never move. Others than the read loop
	// need mu to read calls.
	calls []*[callChunk]cell
	now   time.Duration // since the invoker began: when what is read now came; owned by the read loop
	stale bool          // now is of an earlier read; owned by the read loop

	arrived    []*task       // not yet queued; owned by the read loop, like
	arrivedEnd core.Position // the position after the last of them
	allowance  allowance
	keepalive  core.Keepalive
	client     core.ClientID // whose numbers come, if identified; owned by the read loop
	identified bool

	counters counters

	arrivals turns       // of ordered commands that are in no lane yet; guarded by lanes.mu
	lost     atomic.Bool // the connection has ended; no ordered command begins any more

	announce sync.Once // says GOAWAY for Drain; whoever is second waits until it is queued

	latencies   []*core.Histogram            // by the commands' numbers; nil if they are not kept
	monitors    []core.CommandMonitor        // the same; nil without a Monitor
	lastFailure atomic.Pointer[core.Failure] // nil: there was none

	mu sync.Mutex // guards the following; held briefly
	// queue holds tasks that no worker has taken; queue[:head] are taken.
	queue []*task
	head  int
	// searching: a worker is awake that will look at the queue, so no other need be woken.
	searching   bool
	draining    bool
	commands    uint64        // accepted so far
	running     int           // of those, not ended
	held        int           // what those count for in the budget, in bytes
	reserved    int           // of the account, for that
	interrupted int           // of those, at the connection's end
	isForsaken  bool          // the client is away and cannot come back, but commands go on
	forsaken    chan struct{} // closed then; nil until somebody waits for it
	accepted    core.Position // end of the last command accepted
	idle        chan struct{} // made by whenIdle; closed when running is 0
}

// callChunk is how many cells are allocated at once: few, because many connections have one call at a time.
const callChunk = 16

// NewConnection returns the server's side of a connection whose handshake is done. It owns
// transport from now on.
func (i *Invoker) NewConnection(transport core.Transport, config ConnectionConfig) *Connection {
	if config.MaxInFlight <= 0 {
		config.MaxInFlight = core.DefaultMaxInFlight
	}
	if config.Window <= 0 {
		config.Window = core.DefaultWindow
	}
	if config.InputWindow <= 0 {
		config.InputWindow = core.DefaultWindow
	}
	config.MaxInputWindow = min(max(config.MaxInputWindow, config.InputWindow), math.MaxInt32)
	if config.Account == nil {
		config.Account = core.DefaultBudget().NewAccount(0)
	}
	c := &Connection{
		invoker: i, transport: transport, config: config, account: config.Account,
		stale: true, latencies: i.latenciesOf(&config), monitors: i.monitorsOf(&config),
	}
	if budgeted, ok := transport.(core.Budgeted); ok {
		budgeted.SetBudget(c.account, c.reservedFor)
	}
	return c
}

// Serve receives and runs commands until the connection ends, then cancels those that run, and
// returns when all of them have ended. The error says why the connection ended; io.EOF is the
// client's orderly end.
func (c *Connection) Serve() error {
	c.keepalive.Start(c.transport, c.config.KeepaliveInterval, c.config.KeepaliveTimeout, 0)
	err := c.transport.Run(c.handle)
	c.keepalive.Stop()
	c.enqueueArrived()
	if problem, ok := errors.AsType[violationError](err); ok {
		c.sayGoodbye(problem)
	}
	c.transport.Close(err)
	c.mu.Lock()
	c.interrupted = c.running
	c.mu.Unlock()
	c.lost.Store(true)
	c.cancelAll()
	<-c.whenIdle()
	c.transport.Wait()
	c.account.Close()
	return err
}

// violationError is an error for which the client is to blame, and of which it is told. The transport has such
// errors too.
type violationError interface {
	error
	GoAway() core.Code
}

// violation is a breach of the protocol by the client.
type violation struct {
	code    core.Code
	problem string
}

func (v *violation) Error() string     { return "protocol error: " + v.problem }
func (v *violation) GoAway() core.Code { return v.code }

func violationf(format string, arguments ...any) error {
	return &violation{core.Internal, fmt.Sprintf(format, arguments...)}
}

// goodbyeTimeout bounds how long a client that broke the protocol may take to read why.
const goodbyeTimeout = time.Second

// sayGoodbye tells the client why its connection ends.
func (c *Connection) sayGoodbye(problem violationError) {
	ctx, cancel := context.WithTimeout(context.Background(), goodbyeTimeout)
	defer cancel()
	c.goAway(&core.Error{Code: problem.GoAway(), Message: problem.Error()})
	_ = c.transport.Flush(ctx) // as far as it goes: the connection is closed anyway
}

// handle deals with one frame. An error ends the connection.
func (c *Connection) handle(frame *core.Frame) error {
	if frame.Kind == core.KindCommand {
		c.arrival(frame)
		err := c.start(frame)
		if err != nil || !frame.More || len(c.arrived) == maxArrived {
			c.enqueueArrived()
		}
		return err
	}
	c.stale = true
	c.enqueueArrived()
	defer func() { frame.Buffer.Release() }() // if nobody has taken it over
	if frame.Oversize && frame.Kind != core.KindInput {
		return violationf("%v frame too long", frame.Kind)
	}
	switch frame.Kind {
	case core.KindCancel:
		ctx := c.find(frame.Sequence)
		if ctx == nil {
			return c.forNothing(frame.Kind, &c.counters.ignored)
		}
		c.counters.canceled.Add(1)
		ctx.cancel(endedCanceled)
		c.transport.Drop(frame.Sequence)
		return nil
	case core.KindCredit:
		ctx := c.find(frame.Sequence)
		if ctx == nil { // the stream has ended meanwhile
			return c.forNothing(frame.Kind, &c.counters.ignored)
		}
		// extra may be set later by Exec's goroutine, but for a stream it is there from the start.
		if ctx.is&isStream == 0 || !ctx.extra.credit.Add(frame.Body) {
			return violationf("CREDIT out of range for call %v", frame.Sequence)
		}
		return nil
	case core.KindInput, core.KindInputEnd:
		ctx := c.find(frame.Sequence)
		if ctx == nil { // the command has ended meanwhile, or was refused
			return c.forNothing(frame.Kind, &c.counters.ignored)
		}
		if ctx.is&isStream == 0 || ctx.extra.inputs == nil {
			return violationf("%v for call %v, which takes no inputs", frame.Kind, frame.Sequence)
		}
		return ctx.extra.inputs.deliver(frame)
	case core.KindPing:
		if len(frame.Body) > core.MaxPingBody {
			return violationf("PING frame too long")
		}
		if err := c.forNothing(frame.Kind, &c.counters.pings); err != nil {
			return err
		}
		return c.transport.Post(core.Frame{Kind: core.KindPong, Body: frame.Body})
	case core.KindPong:
		switch {
		case c.flow.Pong(frame.Body):
			return nil
		case c.keepalive.Pong(frame.Body):
			c.flow.Undisturbed(c.keepalive.RoundTripTime())
			return nil
		}
		return c.forNothing(frame.Kind, &c.counters.ignored)
	case core.KindForget:
		return c.forget(frame.Body)
	case core.KindIdentity:
		return c.identify(frame.Body)
	case core.KindGoAway: // a client that goes away closes when it is done
		return c.forNothing(frame.Kind, &c.counters.ignored)
	}
	return violationf("unexpected %v frame from the client", frame.Kind)
}

// start makes a task of a command, to be queued with those that have come together with it, or refuses
// it.
func (c *Connection) start(frame *core.Frame) error {
	slot := frame.Sequence.Slot()
	if uint64(slot) >= uint64(c.config.MaxInFlight) {
		frame.Buffer.Release()
		c.refuse(frame.Sequence, core.Errorf(core.ResourceExhausted, "more than %d commands in flight on this connection", c.config.MaxInFlight))
		return nil
	}
	cell := c.cell(slot)
	if cell.Load() != nil {
		frame.Buffer.Release()
		return violationf("COMMAND for call %v, whose slot is in use", frame.Sequence)
	}
	executor, refusal := c.accept(frame)
	if refusal != nil {
		frame.Buffer.Release()
		c.refuse(frame.Sequence, refusal)
		return c.countRefused(refusal)
	}
	t := tasks.Get().(*task)
	t.connection, t.cell, t.executor, t.name = c, cell, executor, c.config.Names[frame.Command]
	if len(c.invoker.config.Interceptors) > c.invoker.first {
		both := new(interceptedContext)
		t.ctx, t.call = &both.commandContext, &both.call
	} else {
		t.ctx = new(commandContext)
	}
	t.ctx.connection, t.ctx.sequence, t.ctx.command = c, frame.Sequence, frame.Command
	if frame.Flags&core.FlagBulk != 0 {
		t.ctx.is |= isBulk
	}
	if frame.Buffer != nil || frame.Flags&core.FlagCompressed != 0 {
		t.buffer = frame.TakeBody()
	} else {
		t.kept = append(t.kept[:0], frame.Body...)
		t.body = t.kept
	}
	if executor.Stream() {
		t.ctx.is |= isStream
		t.ctx.extra = &contextExtra{credit: new(core.Credit)}
		t.ctx.extra.credit.Set(c.config.Window)
		if executor.Inputs() {
			t.ctx.extra.inputs = newInputs(t.ctx)
			c.allowance.earn(t.ctx.extra.inputs.credit)
		}
	}
	if frame.Number != 0 && c.config.Journal != nil {
		if err := c.identifyTask(t, frame); err != nil {
			c.invoker.inFlight.Add(-1)
			t.recycle()
			return err
		}
	}
	if ordered, ok := executor.(core.OrderedExecutor); ok {
		t.turn = &turn{task: t, executor: ordered}
		t.ctx.extraLocked().turn = t.turn
		c.invoker.lanes.arrive(&c.arrivals, t.turn)
	}
	if t.described = len(frame.Metadata) > 0; t.described {
		t.ctx.keepMetadata(frame.Metadata)
	}
	if frame.Flags&core.FlagTimeout != 0 {
		t.ctx.setDeadline(frame.Timeout)
	}
	c.allowance.earn(0)
	t.came = c.now
	cell.came.Store(int64(c.now))
	cell.Store(t.ctx)
	if executor.Inputs() {
		t.ctx.extra.inputs.open()
	}
	c.arrived, c.arrivedEnd = append(c.arrived, t), frame.End
	return nil
}

// countRefused counts a refused command. That the server is full is not the client's fault.
func (c *Connection) countRefused(refusal *core.Error) error {
	switch refusal.Code {
	case core.InvalidArgument, core.Unimplemented:
		return c.forNothing(core.KindCommand, &c.counters.refused)
	}
	c.counters.refused.Add(1)
	return nil
}

// maxArrived is how many tasks the read loop queues at once.
const maxArrived = 8

// accept checks whether a command can be run and counts it in, or says why not.
func (c *Connection) accept(frame *core.Frame) (core.Executor, *core.Error) {
	if frame.NoRoom {
		return nil, noRoom("for the command")
	}
	if frame.Oversize {
		return nil, core.Errorf(core.ResourceExhausted, "the command is larger than the server accepts (MaxFrame)")
	}
	if !frame.Flags.Known(c.config.Compressor != nil) {
		return nil, core.Errorf(core.Unimplemented, "flags %#02x, of which some are not agreed on", uint8(frame.Flags))
	}
	if int(frame.Command) >= len(c.config.Executors) {
		return nil, core.Errorf(core.Unimplemented, "unknown command number %d", frame.Command)
	}
	executor := c.config.Executors[frame.Command]
	if executor == nil {
		return nil, core.Errorf(core.Unimplemented, "the server has no command %q", c.config.Names[frame.Command])
	}
	if stream := frame.Flags&core.FlagStream != 0; stream != executor.Stream() {
		return nil, core.Errorf(core.InvalidArgument, "the command's number of results differs between client and server")
	}
	if inputs := frame.Flags&core.FlagInputs != 0; inputs != executor.Inputs() {
		return nil, core.Errorf(core.InvalidArgument, "the command takes inputs on one side only")
	}
	if len(frame.Metadata) > 0 {
		if err := core.CheckMetadata(frame.Metadata); err != nil {
			return nil, core.AsError(err)
		}
	}
	if frame.Flags&core.FlagTimeout != 0 && frame.Timeout <= 0 {
		return nil, core.Errorf(core.DeadlineExceeded, "the deadline had passed when the command arrived")
	}
	if !c.invoker.admit() {
		return nil, &core.Error{
			Code: core.ResourceExhausted, RetryAfter: core.BusyRetry,
			Message: fmt.Sprintf("more than %d commands in flight on this server", c.invoker.config.MaxInFlight),
		}
	}
	if executor.Inputs() && !c.account.Take(c.config.InputWindow, core.ForCalls) {
		c.invoker.inFlight.Add(-1)
		return nil, noRoom("for the command's inputs")
	}
	return executor, nil
}

// noRoom is the error of what the budget has no room for.
func noRoom(what string) *core.Error {
	return &core.Error{
		Code: core.ResourceExhausted, RetryAfter: core.BusyRetry,
		Message: "the server has no room " + what + " in its budget",
	}
}

// cell is where the context of the call in a slot is found, and when the call came, since the invoker began.
type cell struct {
	atomic.Pointer[commandContext]
	came atomic.Int64
}

// cell returns that of a slot.
func (c *Connection) cell(slot uint32) *cell {
	chunk := int(slot / callChunk)
	if chunk >= len(c.calls) || c.calls[chunk] == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		for len(c.calls) <= chunk {
			c.calls = append(c.calls, nil)
		}
		c.calls[chunk] = new([callChunk]cell)
	}
	return &c.calls[chunk][slot%callChunk]
}

// arrival returns when a frame has come, since the invoker began: those that were read together have come together.
func (c *Connection) arrival(frame *core.Frame) time.Duration {
	if c.stale {
		c.now = c.invoker.now()
	}
	c.stale = !frame.More
	return c.now
}

// find returns the context of a call in flight, nil if it has ended.
func (c *Connection) find(sequence core.Sequence) *commandContext {
	slot := sequence.Slot()
	chunk := int(slot / callChunk)
	if chunk >= len(c.calls) || c.calls[chunk] == nil {
		return nil
	}
	ctx := c.calls[chunk][slot%callChunk].Load()
	if ctx == nil || ctx.sequence != sequence {
		return nil
	}
	return ctx
}

// refuse ends a call that has no task. It never waits.
func (c *Connection) refuse(sequence core.Sequence, e *core.Error) {
	if e.Outcome == core.OutcomeUnknown {
		e.Outcome = core.Refused
	}
	c.noteRefusal(e)
	// An error means that the connection has ended, and the call with it.
	_ = c.transport.Post(core.Frame{Kind: core.KindError, Sequence: sequence, Body: core.AppendError(nil, e)})
}

// enqueueArrived queues the tasks that have come together and sees to it that workers will take them.
// If no commands are taken any more, or the budget has no room for all of them, it refuses the rest.
func (c *Connection) enqueueArrived() {
	if len(c.arrived) == 0 {
		return
	}
	c.mu.Lock()
	taken, wake := 0, false
	if !c.draining {
		taken = c.holdLocked(c.arrived)
	}
	if taken > 0 {
		c.accepted = c.arrivedEnd
		c.commands += uint64(taken)
		c.running += taken
		c.queue = append(c.queue, c.arrived[:taken]...)
		wake = !c.searching
		c.searching = true
	}
	draining := c.draining
	c.mu.Unlock()
	if wake {
		c.invoker.workers.serve(c)
	}
	if taken < len(c.arrived) {
		c.turnAwayArrived(c.arrived[taken:], draining)
	}
	clear(c.arrived)
	c.arrived = c.arrived[:0]
}

func (c *Connection) turnAwayArrived(arrived []*task, draining bool) {
	for _, t := range arrived {
		if draining {
			c.sayDraining()
			c.turnAway(t, &core.Error{Code: core.Unavailable, Message: "the server is shutting down"})
		} else {
			c.counters.refused.Add(1)
			c.turnAway(t, noRoom("for the command"))
		}
	}
}

const (
	// commandCost is what a command counts for in the budget beside its body: a goroutine's stack, its context.
	commandCost = 4 << 10
	// heldFree is what a connection's commands may count for without asking the budget.
	heldFree = 16 << 10
	// heldStep is how much is taken from the budget at once beyond that, at least. As long as there is plenty
	// twice of it is kept: so a connection with some commands in flight does not ask for each of them.
	heldStep = 16 << 10
)

// holdLocked counts tasks in the budget, and returns how many of them, from the first, it has room for.
func (c *Connection) holdLocked(arrived []*task) int {
	for i, t := range arrived {
		t.cost = commandCost + len(t.body)
		if t.buffer != nil {
			t.cost += max(0, t.buffer.Len()-t.buffer.Charged())
		}
		c.held += t.cost
		if short := c.held - heldFree - c.reserved; short > 0 && !c.reserveLocked(short) {
			c.held -= t.cost
			return i
		}
	}
	return len(arrived)
}

// reserveLocked takes short bytes from the account, or more if there is plenty of room.
func (c *Connection) reserveLocked(short int) bool {
	for _, size := range [...]int{short + max(heldStep, c.held/2), short} {
		if c.account.Take(size, core.ForCalls) {
			c.reserved += size
			return true
		}
	}
	return false
}

// letGoLocked counts what ended commands have held out of the budget.
func (c *Connection) letGoLocked(cost int) {
	c.held -= cost
	if c.reserved == 0 {
		return
	}
	keep := 2 * max(0, c.held-heldFree)
	if keep > 0 && c.reserved <= 2*keep || c.reserved <= 2*heldStep && c.account.Calm() {
		return // it may soon be needed again
	}
	if c.account.Calm() {
		keep = max(keep, 2*heldStep)
	}
	c.account.Give(c.reserved - keep)
	c.reserved = min(c.reserved, keep)
}

// reservedFor is asked by the transport about a frame that is coming, in the read loop.
func (c *Connection) reservedFor(frame *core.Frame) int {
	if frame.Kind != core.KindInput {
		return 0
	}
	ctx := c.find(frame.Sequence)
	if ctx == nil || ctx.is&isStream == 0 || ctx.extra.inputs == nil {
		return 0
	}
	return ctx.extra.inputs.reservedCredit()
}

// Used returns how many bytes of its Budget the connection has taken.
func (c *Connection) Used() int64 { return c.account.Used() }

// InFlight returns the number of commands that run or wait to run.
func (c *Connection) InFlight() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running
}

// Peer describes the client.
func (c *Connection) Peer() core.Peer { return c.config.Peer }

// enqueue queues a task that is counted in already, an ordered command that is due. It never waits.
func (c *Connection) enqueue(t *task) {
	c.mu.Lock()
	c.queue = append(c.queue, t)
	wake := !c.searching
	c.searching = true
	c.mu.Unlock()
	if wake {
		c.invoker.workers.serve(c)
	}
}

// enterLane lets an ordered command whose key is known wait for its turn, or reports that it is due.
func (c *Connection) enterLane(t *turn, key string) (isDue bool) {
	for _, due := range c.invoker.lanes.enter(t, key) {
		if due == t {
			isDue = true
		} else {
			due.task.connection.enqueue(due.task)
		}
	}
	return isDue
}

// leaveLane lets the next ones have their turn, maybe on other connections.
func (c *Connection) leaveLane(t *turn) {
	for _, due := range c.invoker.lanes.leave(t) {
		due.task.connection.enqueue(due.task)
	}
}

// interrupt sees to it that a command that waits for its turn ends, because its context has.
func (c *Connection) interrupt(t *turn) {
	if c.invoker.lanes.interrupt(t) {
		c.enqueue(t.task)
	}
}

// turnAway refuses a command whose task is made but not queued.
func (c *Connection) turnAway(t *task, reason *core.Error) {
	sequence := t.ctx.sequence
	t.cell.Store(nil)
	t.ctx.cancel(endedCanceled)
	t.ctx.dropInputs()
	if t.turn != nil {
		c.leaveLane(t.turn)
	}
	t.recycle()
	c.invoker.inFlight.Add(-1)
	c.refuse(sequence, reason)
}

// work runs tasks until the queue is empty. The caller is a worker that has been woken for it.
func (c *Connection) work() {
	t := c.next(true, 0, 0)
	for t != nil {
		ended, cost := 1, t.cost
		if t.run() {
			ended, cost = 0, 0
		}
		t = c.next(false, ended, cost)
	}
}

// next counts out the tasks that the worker has ended and what they cost, and takes another one. If there are more, some
// worker is awake or is woken before next returns: this one may now be busy for long.
func (c *Connection) next(woken bool, ended, cost int) *task {
	c.mu.Lock()
	if woken {
		c.searching = false
	}
	c.endedLocked(ended, cost)
	if c.head == len(c.queue) {
		c.mu.Unlock()
		return nil
	}
	t := c.queue[c.head]
	c.queue[c.head] = nil
	if c.head++; c.head == len(c.queue) {
		c.queue, c.head = c.queue[:0], 0
	}
	wake := c.head < len(c.queue) && !c.searching
	if wake {
		c.searching = true
	}
	c.mu.Unlock()
	if wake {
		c.invoker.workers.serve(c)
	}
	return t
}

// endedLocked counts commands out.
func (c *Connection) endedLocked(commands, cost int) {
	c.letGoLocked(cost)
	c.running -= commands
	if commands > 0 && c.running == 0 && c.draining {
		close(c.idle)
	}
}

// abandoned counts out the command of a worker that will not come for another.
func (c *Connection) abandoned(cost int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endedLocked(1, cost)
}

// whenIdle stops the acceptance of commands and returns a channel that is closed when none runs.
func (c *Connection) whenIdle() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.draining {
		c.draining, c.idle = true, make(chan struct{})
		if c.running == 0 {
			close(c.idle)
		}
	}
	return c.idle
}

// cancelAll ends the contexts of all commands in flight. Called by the read loop at its end.
func (c *Connection) cancelAll() {
	for _, chunk := range c.calls {
		if chunk == nil {
			continue
		}
		for i := range chunk {
			if ctx := chunk[i].Load(); ctx != nil {
				ctx.cancel(endedCanceled)
			}
		}
	}
}

// Drain tells the client that no more commands are accepted, waits until those in flight have
// ended and their results are written, and ends the sending side; the client closes the connection
// then. It gives up when ctx ends. Any goroutine may call it, while Serve runs.
func (c *Connection) Drain(ctx context.Context) {
	idle := c.whenIdle()
	c.sayDraining()
	var lost <-chan struct{}
	if t, ok := c.transport.(forsakable); ok {
		lost = t.Lost()
		t.Forsake()
	}
	for {
		select {
		case <-idle:
			_ = c.transport.Flush(ctx) // an error means that the connection has ended
			return
		case <-lost:
			lost = nil
			c.forsake()
		case <-ctx.Done():
			return
		}
	}
}

// forsakable is an optional interface of Transports that survive the loss of what is underneath.
type forsakable interface {
	// Lost is closed when that is lost, nil if the Transport does not survive it. Forsake says that the client can't come
	// back then: what is sent goes nowhere, and does not wait.
	Lost() <-chan struct{}
	Forsake()
}

// errForsaken is what commands get that wait for such a client. Others go on: what becomes of them may be kept.
var errForsaken = core.Errorf(core.Unavailable, "the client is away, and the server shuts down")

// sayDraining posts the GOAWAY of a server that is shutting down, once. Commands are not taken any more.
func (c *Connection) sayDraining() {
	c.announce.Do(func() {
		c.goAway(&core.Error{Code: core.Unavailable, Message: "the server is shutting down"})
	})
}

// goAway posts a GOAWAY frame.
func (c *Connection) goAway(e *core.Error) {
	c.mu.Lock()
	accepted := c.accepted
	c.mu.Unlock()
	body := binary.LittleEndian.AppendUint64(nil, uint64(accepted))
	_ = c.transport.Post(core.Frame{Kind: core.KindGoAway, Body: core.AppendError(body, e)})
}

// Close ends the connection at once; Serve returns soon after, when the commands have ended.
func (c *Connection) Close() { c.transport.Close(core.ErrClosed) }

// RoundTripTime returns how long the last PING to the client and its PONG were under way; 0 if there was no
// reason to send one yet.
func (c *Connection) RoundTripTime() time.Duration { return c.keepalive.RoundTripTime() }

func (c *Connection) peerName() string {
	if c.config.Peer.Address == nil {
		return c.config.Peer.Name
	}
	return c.config.Peer.Address.String()
}

// OrderlyEnd reports whether err, from Serve, is an ordinary end of the connection that is not worth
// a warning: the client closed it, this side did, or it broke when nothing ran any more.
func (c *Connection) OrderlyEnd(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return err == nil || err == io.EOF || errors.Is(err, core.ErrClosed) ||
		c.interrupted == 0 && (errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET))
}

// whenForsaken returns a channel that is closed when the client is away and can't come back.
func (c *Connection) whenForsaken() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.forsaken == nil {
		c.forsaken = make(chan struct{})
		if c.isForsaken {
			close(c.forsaken)
		}
	}
	return c.forsaken
}

func (c *Connection) forsake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.forsaken != nil && !c.isForsaken {
		close(c.forsaken)
	}
	c.isForsaken = true
}
