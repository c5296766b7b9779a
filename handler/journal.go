package handler

import (
	"errors"
	"slices"

	"github.com/edict-go/edict/core"
)

// maxRecord bounds what is kept of one command's results.
const maxRecord = 4 << 20

// ErrRecorded is what interceptors see of a command that was executed before: it is not executed again, and its client
// gets what it was to get, whatever they make of the error.
var ErrRecorded = errors.New("the command was executed before")

// ReasonCut is the Reason of the error of a command that was begun before, by a server that has not seen its end.
const ReasonCut = "cut-while-executing"

// number is what a task of a numbered command has on top of others, if what becomes of it is to be remembered.
type number struct {
	id       core.CommandID
	record   core.Record  // what becomes of it, as far as it has
	size     int          // of record
	recorded *core.Record // what became of it before; nil if it is executed now
	unknown  bool         // nobody knows whether it was executed
}

// beginNumbered asks the journal about a command that is about to be executed.
func (t *task) beginNumbered() error {
	n := t.number
	record, err := t.connection.config.Journal.Begin(n.id)
	switch {
	case errors.Is(err, core.ErrBegun):
		n.unknown = true
		return &core.Error{
			Code: core.Aborted, Outcome: core.OutcomeUnknown, Reason: ReasonCut,
			Message: "the command was being executed when the server, or its session, ended: nobody knows how far it came",
		}
	case err != nil:
		if _, ok := errors.AsType[*core.Error](err); ok {
			return err
		}
		t.connection.invoker.config.Logger.Error("edict: the journal has failed", "command", t.name, "error", err)
		return &core.Error{Code: core.Unavailable, Message: "the server's journal has failed", RetryAfter: core.BusyRetry}
	case record != nil:
		n.recorded = record
		return ErrRecorded
	}
	config := &t.connection.config
	n.record = core.Record{Codec: config.Peer.Codec, Compression: config.Peer.Compression}
	return nil
}

// copyOf returns what is to be kept of a result of a stream, as it goes over the wire, if it is sent: see note. It has no
// body if there is no more room.
func (n *number) copyOf(buffer *core.Buffer) core.RecordedResult {
	if n.record.TooLarge || n.size+len(buffer.Bytes)+core.ResultOverhead > maxRecord {
		return core.RecordedResult{}
	}
	return core.RecordedResult{Body: slices.Clone(buffer.Bytes), Compressed: buffer.Compressed}
}

// note keeps a result of size bytes that was sent.
func (n *number) note(result core.RecordedResult, size int) {
	if n.record.TooLarge {
		return
	}
	if n.size += size + core.ResultOverhead; n.size > maxRecord {
		n.record.TooLarge, n.record.Results = true, nil
		return
	}
	n.record.Results = append(n.record.Results, result)
}

// endNumbered tells the journal how the command has ended, before its client hears of it.
func (t *task) endNumbered(frame *core.Frame) {
	n := t.number
	if !t.begun {
		return
	}
	n.record.Kind, n.record.Flags, n.record.Metadata, n.record.Body = frame.Kind, frame.Flags, frame.Metadata, frame.Body
	if n.size+len(frame.Body) > maxRecord {
		n.record.TooLarge, n.record.Body = true, nil
	}
	if err := t.connection.config.Journal.End(n.id, &n.record); err != nil {
		// The client gets its result all the same; if it does not, nobody will know it.
		t.connection.invoker.config.Logger.Error("edict: the journal has failed", "command", t.name, "error", err)
	}
}

// replay sends the results that a command had before, but for the last frame.
func (t *task) replay() error {
	record := t.number.recorded
	if len(record.Results) == 0 {
		return nil
	}
	if err := t.replayable(record); err != nil {
		return err
	}
	for _, result := range record.Results {
		buffer := core.GetBuffer(len(result.Body))
		buffer.Bytes, buffer.Compressed = append(buffer.Bytes, result.Body...), result.Compressed
		for again := true; again; {
			var err error
			if again, err = t.ctx.sendEncoded(t.ctx, buffer); err != nil {
				return err
			}
			if again {
				buffer = core.GetBuffer(len(result.Body))
				buffer.Bytes, buffer.Compressed = append(buffer.Bytes, result.Body...), result.Compressed
				if err := t.ctx.waitForCredit(t.ctx); err != nil {
					buffer.Release()
					return err
				}
			}
		}
	}
	return nil
}

// replayable returns an error if a record is not what this connection's client can read.
func (t *task) replayable(record *core.Record) error {
	peer := &t.connection.config.Peer
	switch {
	case record.TooLarge:
		return core.Errorf(core.DataLoss, "the command was executed; its results were too large to be kept")
	case record.Codec != peer.Codec, record.Compression != peer.Compression:
		return core.Errorf(core.DataLoss, "the command was executed; its results are kept in the codec %q with the compression %q", record.Codec, record.Compression)
	}
	return nil
}

// fillRecorded fills in the frame that ends a call whose command was executed before.
func (t *task) fillRecorded(frame *core.Frame) {
	record := t.number.recorded
	if record.Kind != core.KindError {
		if err := t.replayable(record); err != nil {
			e := core.AsError(err)
			e.Outcome = core.Executed
			t.told = e
			frame.Kind, frame.Body = core.KindError, core.AppendError(nil, e)
			return
		}
	}
	frame.Kind, frame.Flags, frame.Metadata, frame.Body = record.Kind, record.Flags, record.Metadata, record.Body
}

// identify takes the proof of who the client is. It is checked here, on the read loop, which costs some 50 µs once per
// session: what follows can't be judged before.
func (c *Connection) identify(body []byte) error {
	switch {
	case c.config.Journal == nil:
		return violationf("IDENTITY frame without an agreement")
	case c.identified:
		return violationf("IDENTITY frame of a client that has shown who it is")
	}
	client, err := c.config.Challenge.Verify(body)
	if err != nil {
		return violationf("%v", err)
	}
	c.client, c.identified = client, true
	return nil
}

// identifyTask gives a task the ID of its command, and lets it be remembered if the client wants that.
func (c *Connection) identifyTask(t *task, frame *core.Frame) error {
	if !c.identified {
		return violationf("COMMAND with a number, of a client that has not shown who it is")
	}
	extra := t.ctx.extraLocked()
	extra.id = core.CommandID{Client: c.client, Number: frame.Number &^ core.Unrecorded}
	if frame.Number&core.Unrecorded == 0 {
		t.number = &number{id: extra.id}
		extra.number = t.number
	}
	return nil
}

// forget passes a FORGET frame to the journal.
func (c *Connection) forget(body []byte) error {
	numbers, err := core.DecodeForgotten(body)
	if err != nil || !c.identified {
		return violationf("FORGET frame that is malformed, or not agreed on")
	}
	c.config.Journal.Forget(c.client, numbers)
	return nil
}

// CommandID names the command for ever, if the connection has a journal and the client has numbered it.
func (c *commandContext) CommandID() (core.CommandID, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.extra == nil || c.extra.id.Number == 0 {
		return core.CommandID{}, false
	}
	return c.extra.id, true
}
