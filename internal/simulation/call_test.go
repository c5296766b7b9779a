package simulation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/core"
)

// call is one call, as its caller lives through it, and what the model knows of it. The caller's
// goroutine writes the first group and the driver reads it when nothing moves.
type call struct {
	started  bool // Start has returned an exchange
	inside   bool // in a function of Edict, not waiting for the driver
	over     bool
	left     bool // the caller took no more
	err      error
	results  []letter
	metadata edict.Metadata
	again    error // what one Receive more has returned
	// Of a call that takes inputs: another goroutine of the caller sends them.
	feeding  bool     // in Send or CloseSend
	fed      []letter // the inputs that Send has taken
	feedEnd  bool     // CloseSend was called
	feedFail bool     // the last Send has returned an error, not io.EOF
	feedOver bool     // Send has returned io.EOF

	// Constant.
	id     int
	link   *link
	how    manner
	size   int
	fault  fault
	inTurn bool // its command has an ordering key,
	key    int  // this one; 0 is the empty one
	shared bool // its context is the link's
	bulk   bool // it gives way to others
	ctx    context.Context
	own    *callerContext // ctx, if it has one of its own that can end
	cause  error          // with which that is cancelled
	next   chan bool      // the driver lets it go on: true to take, false to leave
	feeds  chan letter    // the driver lets an input be sent, or, with an index of -1, their end
	born   time.Time      // when it was started

	// What the driver has done, and the model has seen.
	canceled   bool // ended by the driver, one way or another
	invoked    bool // by its Invocation's Cancel
	invocation func()
	sequence   core.Sequence
	offered    bool // its COMMAND was given to the network
	whole      bool // all parts of it
	withdrawn  bool // it never will be
	padded     bool // a PADDING took its place
	behind     int  // it was queued behind this call of Write, which had not come to an end; 0 if it was not
	arrived    bool // at the server, all of it
	deadline   time.Time
	limited    bool  // the server has that deadline for it
	canceling  bool  // a CANCEL was offered
	told       bool  // a CANCEL has arrived
	bodies     []int // of the results that have come to the client, on the wire
	fedBodies  []int // of the inputs that have come to the server
	available  int   // credit that the server has
	credited   int   // bytes that the client has offered as credit
	sentCount  int
	lastSent   bool
	readCount  int // results that have come to the client
	room       int // credit for inputs that the client has
	inputs     int // that the client has offered
	inputsEnd  bool
	grew       bool // some window has grown
	given      int  // bytes that the server has offered as credit for inputs
	came       int  // inputs that have arrived
	cameEnd    bool
	lastRead   bool
	lastStep   int          // in which it came
	verdict    core.Outcome // that the frame which ended it has told; Executed for a success
	body       int          // of its COMMAND, as it was on the wire
	sent       int          // its place among all commands that were given to the network
	place      int          // among all commands that have arrived
	bornStep   int          // in which it was started
	startStep  int          // in which Start has returned an exchange
	waited     bool         // for its turn
	doomed     bool         // its context had ended before it was its turn
	seen       callView
	judged     bool
}

// manner is how a caller calls.
type manner int

const (
	byCall       manner = iota // edict.Call
	byBare                     // edict.Call, with a command without a body
	byStart                    // edict.Start, and Receive when the driver says so
	byExchange                 // Client.Start for a stream, which is what the facade is built on
	byInvocation               // edict.StartStream
	byRange                    // edict.Stream
	byDuplex                   // edict.StartDuplex
)

func (m manner) String() string {
	return [...]string{"call", "bare", "start", "exchange", "invocation", "range", "duplex"}[m]
}

// observes reports whether the call has an Invocation, which observes its context for a caller that does not.
func (c *call) observes() bool { return c.how == byStart || c.how > byExchange }

func (m manner) stream() bool { return m >= byExchange }

// callView is what the trace tells of a call.
type callView struct {
	started, inside, over, left bool
	results, fed                int
	feeding, feedFail, feedOver bool
	code                        edict.Code
	outcome                     edict.Outcome
}

func (v callView) String() string {
	text := fmt.Sprintf("%d results, %d inputs", v.results, v.fed)
	for _, word := range []struct {
		holds bool
		text  string
	}{
		{v.started, "started"},
		{v.inside, "waits"},
		{v.over, "over"},
		{v.left, "left"},
		{v.feeding, "sends"},
		{v.feedFail, "could not send"},
		{v.feedOver, "need not send"},
	} {
		if word.holds {
			text += ", " + word.text
		}
	}
	if v.code != 0 {
		text += fmt.Sprintf(", %v, %v", v.code, v.outcome)
	}
	return text
}

func (c *call) view() callView {
	v := callView{started: c.started, inside: c.inside, over: c.over, left: c.left, results: len(c.results)}
	v.fed, v.feeding, v.feedFail, v.feedOver = len(c.fed), c.feeding, c.feedFail, c.feedOver
	if c.err != nil {
		v.code, v.outcome = edict.CodeOf(c.err), edict.OutcomeOf(c.err)
	}
	return v
}

// sender notes when a call was started. It is what the callers use as their client.
type sender struct{ call *call }

// Start implements edict.Sender.
func (s sender) Start(ctx context.Context, request edict.Request[*lab]) (edict.Exchange, error) {
	exchange, err := s.call.link.client.Start(ctx, request)
	looked.Load()
	s.call.started = err == nil
	return exchange, err
}

// named reports whether the call's COMMAND tells its number in its metadata.
func (c *call) named() bool { return c.how == byBare || c.link.compression != "" }

func (c *call) name() edict.Metadata { return edict.Metadata{callKey: {strconv.Itoa(c.id)}} }

// live is the caller's goroutine. Started by the driver; ends when the call does, or when the driver
// lets the caller leave.
func (c *call) live() {
	defer func() {
		looked.Load()
		c.inside = false
		c.over = true
	}()
	c.inside = true
	options := []edict.CallOption{edict.WithResponseMetadata(&c.metadata)}
	if c.bulk {
		options = append(options, edict.WithBulk())
	}
	if c.named() {
		options = append(options, edict.WithMetadata(c.name()))
	}
	command := letter{Call: c.id, Size: c.size, Fault: c.fault, Key: c.key}
	switch c.how {
	case byCall:
		var reply letter
		var err error
		if c.inTurn {
			reply, err = edict.Call(c.ctx, sender{c}, askInTurn(command), options...)
		} else {
			reply, err = edict.Call(c.ctx, sender{c}, ask(command), options...)
		}
		c.end(reply, err)
	case byBare:
		_, err := edict.Call(c.ctx, sender{c}, bare{}, options...)
		c.end(letter{Call: c.id, Index: replyIndex}, err)
	case byStart:
		invocation, err := c.startAsk(command, options)
		looked.Load()
		if err != nil {
			c.end(letter{}, err)
			return
		}
		c.invocation = invocation.Cancel
		if !c.proceed() { // it is dropped, as a caller may who cancels it
			c.left = true
			invocation.Cancel()
			return
		}
		reply, err := invocation.Receive()
		c.end(reply, err)
		_, c.again = invocation.Receive()
	case byExchange:
		c.exchange(command)
	case byInvocation:
		invocation, err := c.startList(command, options)
		looked.Load()
		if err != nil {
			c.err = err
			return
		}
		c.takeFrom(invocation)
	case byDuplex:
		invocation, err := c.startTalk(command, options)
		looked.Load()
		if err != nil {
			c.err = err
			return
		}
		c.feeds = make(chan letter)
		go c.feed(invocation)
		c.takeFrom(invocation.Invocation)
	case byRange:
		for result, err := range c.stream(command, options) {
			looked.Load()
			if err != nil {
				c.err = err
				continue // it must have been the last
			}
			c.results = append(c.results, result)
			if !c.proceed() {
				c.left = true
				break
			}
		}
	}
}

// takeFrom takes an invocation's results one by one.
func (c *call) takeFrom(invocation *edict.Invocation[letter]) {
	c.invocation = invocation.Cancel
	for c.proceed() {
		result, err := invocation.Receive()
		looked.Load()
		if err != nil {
			c.err = ignoreEOF(err)
			_, c.again = invocation.Receive()
			return
		}
		c.results = append(c.results, result)
	}
	c.left = true
	invocation.Cancel()
}

// feed sends inputs. Started by live; ends when the driver closes feeds.
func (c *call) feed(invocation *edict.DuplexInvocation[letter, letter]) {
	for input := range c.feeds {
		c.feeding = true
		var err error
		if input.Index < 0 {
			err = invocation.CloseSend()
		} else {
			err = invocation.Send(input)
		}
		looked.Load()
		switch {
		case err == io.EOF:
			c.feedOver = true
		case input.Index < 0:
			c.feedEnd = true
		case err == nil:
			c.fed = append(c.fed, input)
		}
		c.feedFail = err != nil && err != io.EOF
		c.feeding = false
	}
}

// exchange takes a stream's results one by one, without the facade.
func (c *call) exchange(command letter) {
	request := edict.Request[*lab]{Command: list(command), Stream: true, Options: &edict.RequestOptions{Bulk: c.bulk}}
	if c.inTurn {
		request.Command = listInTurn(command)
	}
	if c.named() {
		request.Options.Metadata = c.name()
	}
	exchange, err := sender{c}.Start(c.ctx, request)
	if err != nil {
		c.err = err
		return
	}
	defer exchange.Close()
	for c.proceed() {
		message, err := exchange.Receive()
		looked.Load()
		if err != nil {
			c.err = ignoreEOF(err)
			_, c.again = exchange.Receive()
			return
		}
		result, err := core.Decode[letter](message)
		if err != nil {
			c.err = err
			return
		}
		c.results = append(c.results, result)
	}
	c.left = true
}

// end notes the end of a call with one result.
func (c *call) end(reply letter, err error) {
	looked.Load()
	c.err = err
	if err == nil {
		c.results = append(c.results, reply)
	}
}

// proceed waits for the driver and reports whether to take one more result.
func (c *call) proceed() bool {
	looked.Load()
	c.inside = false
	take := <-c.next
	c.inside = true
	return take
}

func ignoreEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// judge checks what a call that has ended says of itself.
func (s *simulation) judge(c *call) {
	r := s.lab.runs[c.id]
	if c.left {
		return
	}
	s.judgeResults(c, r)
	if c.err != nil {
		s.judgeError(c, r)
	}
}

// judgeResults checks what the caller has got.
func (s *simulation) judgeResults(c *call, r *run) {
	for i, result := range c.results {
		want := letter{Call: c.id, Index: i, Size: result.Size}
		if !c.how.stream() {
			want.Index = replyIndex
		}
		if result != want {
			s.violated("call %d got %+v as its result %d", c.id, result, i)
		}
		if c.how.stream() && (r == nil || i >= len(r.sizes) || result.Size != r.sizes[i]) {
			s.violated("call %d got a result %d, %+v, that was not sent", c.id, i, result)
		}
	}
	if c.err == nil {
		switch {
		case r == nil:
			s.violated("call %d ended well and was not executed", c.id)
		case r.state != over || r.ending != orderFinish:
			s.violated("call %d ended well and its command had not: %v", c.id, r.ending)
		case c.how.stream() && len(c.results) != r.sent:
			s.violated("call %d ended well with %d results of %d", c.id, len(c.results), r.sent)
		case c.how != byExchange && c.metadata.Get(answerKey) != strconv.Itoa(c.id):
			s.violated("call %d ended well, with the metadata %v", c.id, c.metadata)
		case c.again != nil && c.again != io.EOF:
			s.violated("call %d ended well, and then with %v", c.id, c.again)
		}
	}
}

// judgeError checks an error: its outcome, and that it tells the reason.
func (s *simulation) judgeError(c *call, r *run) {
	e, ok := errors.AsType[*edict.Error](c.err)
	if !ok {
		s.violated("call %d ended with %v, which has no *edict.Error", c.id, c.err)
	}
	if errors.Is(c.err, errMixedUp) || strings.Contains(c.err.Error(), errMixedUp.Error()) { // the client or the server
		s.violated("call %d got somebody else's bytes: %v", c.id, c.err)
	}
	if c.again != nil && !errors.Is(c.again, c.err) {
		s.violated("call %d ended with %v, and then with %v", c.id, c.err, c.again)
	}
	switch e.Outcome {
	case edict.NotSent:
		if c.whole && !c.lastRead {
			s.violated("call %d says NotSent, and its command was given to the network: %v", c.id, c.err)
		}
		c.withdrawn = true
	case edict.Refused:
		if !c.lastRead && !c.link.goAwayRead {
			s.violated("call %d says Refused, and the server has not: %v", c.id, c.err)
		}
	case edict.Executed:
		if r == nil {
			s.violated("call %d says Executed, and it was not: %v", c.id, c.err)
		}
	case edict.OutcomeUnknown:
		if !c.started {
			s.violated("call %d was not started, and does not know what became of it: %v", c.id, c.err)
		}
	}
	if (e.Outcome == edict.NotSent || e.Outcome == edict.Refused) && r != nil {
		s.violated("call %d says %v, and was executed: %v", c.id, e.Outcome, c.err)
	}
	if c.lastRead && e.Outcome != c.verdict && !(s.racing && c.lastStep == s.step) {
		s.violated("call %d says %v, and the server has told %v: %v", c.id, e.Outcome, c.verdict, c.err)
	}
	if c.behind > 0 && c.link.near.writes == c.behind && e.Outcome != edict.NotSent && e.Outcome != edict.Refused {
		s.violated("call %d says %v, and nothing of it was given to the network: %v", c.id, e.Outcome, c.err)
	}
	if strings.Contains(e.Message, "budget") {
		s.counted.noRoom++
		if !s.tight || e.RetryAfter != core.BusyRetry {
			s.violated("call %d found no room in the budget: %v, and should try again after %v", c.id, c.err, e.RetryAfter)
		}
	}
	s.judgeReason(c, r, e)
}

// timeoutSize is what a deadline adds to a COMMAND, metadataSize what its number in the metadata does, at most.
const (
	timeoutSize  = 8
	metadataSize = 16
)

// judgeReason checks that an error tells a reason that there was. There may be more than one.
func (s *simulation) judgeReason(c *call, r *run, e *edict.Error) {
	l := c.link
	var reasons []string
	for _, reason := range []struct {
		was, told bool
		name      string
	}{
		{c.ctx.Err() != nil, c.ctx.Err() != nil && e.Code == edict.CodeOf(c.ctx.Err()) && errors.Is(c.err, c.ctx.Err()) && errors.Is(c.err, context.Cause(c.ctx)), "its context has ended"},
		{c.invoked || c.shared && c.canceled, errors.Is(c.err, context.Canceled), "it was cancelled"},
		{!l.alive(), e.Code == edict.Unavailable && errors.Is(c.err, edict.ErrClosed) == errors.Is(l.client.Err(), edict.ErrClosed), "its client has ended"},
		{l.shutting, e.Code == edict.Unavailable && errors.Is(c.err, edict.ErrClosed), "its client shuts down"},
		{l.goAwayRead, e.Code == edict.Unavailable, "the server goes away"},
		{c.lastRead && c.verdict == edict.Refused, e.Remote, "it was refused"},
		{c.lastRead && r != nil, s.toldByRun(c, r, e), "its command has ended"},
		{c.fault == unencodable, e.Code == edict.InvalidArgument && e.Outcome == edict.NotSent, "it can't be encoded"},
		{c.size+letterHead+timeoutSize > s.config.maxFrame || c.named() && c.size+letterHead+timeoutSize+metadataSize > s.config.maxFrame, e.Code == edict.ResourceExhausted && e.Outcome == edict.NotSent, "it is too large"},
		{s.tight, s.noRoom(e) && (e.Outcome == edict.Refused) == (r == nil), "there was no room"},
		{r != nil && r.spoiled, e.Code == edict.Internal && e.Outcome == edict.Executed, "its result can't be decoded"},
	} {
		if reason.told && reason.was {
			return
		}
		if reason.was {
			reasons = append(reasons, reason.name)
		}
	}
	s.violated("call %d: %q, and its error is %v", c.id, reasons, c.err)
}

// toldByRun reports whether an error is what the command's end leads to.
func (s *simulation) toldByRun(c *call, r *run, e *edict.Error) bool {
	if r == nil || !e.Remote {
		return false
	}
	switch r.ending {
	case orderFail:
		return errors.Is(c.err, edict.DataLoss)
	case orderBreak, orderHeed:
		return e.Code == edict.Unknown || c.told && e.Code == edict.Canceled || c.limited && e.Code == edict.DeadlineExceeded
	case orderPanic, orderExit:
		return e.Code == edict.Internal
	case orderFinish: // a result that can't be encoded, or is too large
		return e.Code == edict.Internal || e.Code == edict.ResourceExhausted
	}
	return false
}

func (c *call) String() string { return fmt.Sprintf("call %d (%v)", c.id, c.how) }
