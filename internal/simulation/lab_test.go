package simulation

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"reflect"
	"runtime"
	"strconv"
	"sync"

	"github.com/edict-go/edict"
)

// letter is what commands and results are made of: whose they are, a text of some size, and what goes
// wrong with them.
type letter struct {
	Call  int
	Index int
	Size  int // of the text, in bytes
	Fault fault
	Key   int // of a command in turn: its ordering key; 0 is the empty one
}

// fault is something wrong with a letter.
type fault int

const (
	sound fault = iota
	unencodable
	undecodable
)

// The commands. ask has one result, list any number, talk takes inputs too; bare has one, and neither of
// them has a body: its call is in the metadata.
type (
	ask  letter
	list letter
	talk letter
	bare struct{}
	none struct{}
)

// Exec implements edict.Command.
func (c ask) Exec(ctx context.Context, l *lab) (letter, error) {
	return l.begin(ctx, c.Call).serve(ctx, nil, nil)
}

// Exec implements edict.StreamCommand.
func (c list) Exec(ctx context.Context, l *lab, results edict.Sink[letter]) error {
	_, err := l.begin(ctx, c.Call).serve(ctx, nil, results)
	return err
}

// Exec implements edict.DuplexCommand.
func (c talk) Exec(ctx context.Context, l *lab, inputs edict.Source[letter], results edict.Sink[letter]) error {
	_, err := l.begin(ctx, c.Call).serve(ctx, inputs, results)
	return err
}

// Exec implements edict.Command.
func (bare) Exec(ctx context.Context, l *lab) (none, error) {
	call, err := strconv.Atoi(edict.MetadataOf(ctx).Get(callKey))
	if err != nil {
		panic(err)
	}
	_, err = l.begin(ctx, call).serve(ctx, nil, nil)
	return none{}, err
}

// callKey is the key of the metadata that names a call; answerKey goes back with its end.
const (
	callKey   = "call"
	answerKey = "answer"
)

var commands = edict.Commands(edict.Unary[ask](), edict.ServerStream[list](), edict.Duplex[talk](), edict.Unary[bare]())

// fullCommands are those of full lives.
var fullCommands = edict.Commands(edict.Unary[ask](), edict.ServerStream[list](), edict.Duplex[talk](), edict.Unary[bare](),
	edict.Unary[askInTurn](), edict.ServerStream[listInTurn](), edict.Duplex[talkInTurn]())

// lab is the receiver: it keeps account of what is executed.
type lab struct {
	mu   sync.Mutex // guards the following; held briefly
	runs map[int]*run
	// twice has the calls that were executed more than once.
	twice []int
	// Of the commands in turn: which have begun, in that order; which has the turn of each key; which have begun
	// while another had it.
	begun    []int
	holders  map[int]int
	together [][2]int
}

// run is one execution of a command. Its Exec waits for orders, and writes to it only while it does not,
// so the driver may read it whenever nothing moves.
type run struct {
	call        int
	ctx         context.Context
	codec       string
	compression string
	orders      chan order

	state    runState
	sent     int      // results that Send has taken
	sizes    []int    // of those
	spoiled  bool     // one of the results can't be decoded
	problem  error    // what the last Send returned
	failed   bool     // one of them has returned an error
	stopped  error    // what the last Receive returned
	taken    []letter // the inputs that Receive has returned
	sawEnd   bool     // Receive has returned io.EOF
	ending   orderKind
	returned error  // what Exec returned
	ended    func() // called when it does, if not nil
	seen     runView
}

// runView is what the trace tells of a run.
type runView struct {
	state    runState
	sent     int
	taken    int
	sawEnd   bool
	problem  bool
	stopped  bool
	canceled bool
}

func (v runView) String() string {
	text := fmt.Sprintf("%v, %d results, %d inputs", v.state, v.sent, v.taken)
	for _, word := range []struct {
		holds bool
		text  string
	}{
		{v.sawEnd, "saw the end"}, {v.problem, "could not send"}, {v.stopped, "could not take"}, {v.canceled, "cancelled"},
	} {
		if word.holds {
			text += ", " + word.text
		}
	}
	return text
}

func (r *run) view() runView {
	return runView{r.state, r.sent, len(r.taken), r.sawEnd, r.problem != nil, r.stopped != nil, r.ctx.Err() != nil}
}

type runState int

const (
	resting runState = iota // waits for an order
	sending                 // in Send
	taking                  // in Receive
	over                    // Exec has returned
)

func (s runState) String() string { return [...]string{"rests", "sends", "takes", "over"}[s] }

// order is what the driver lets a command do.
type order struct {
	kind  orderKind
	size  int
	fault fault
}

type orderKind int

const (
	orderNone   orderKind = iota
	orderSend             // send a result
	orderTake             // take an input
	orderFinish           // return a result, or no error
	orderFail             // return an error with a code
	orderBreak            // return an error without one
	orderHeed             // return the error of the context, if it has ended
	orderPanic
	orderExit // end the goroutine
)

func (k orderKind) String() string {
	return [...]string{"none", "send", "take", "finish", "fail", "break", "heed", "panic", "exit"}[k]
}

// begin notes that the command of a call runs.
func (l *lab) begin(ctx context.Context, call int) *run {
	looked.Load()
	r := &run{call: call, ctx: ctx, codec: edict.PeerOf(ctx).Codec, compression: edict.PeerOf(ctx).Compression, orders: make(chan order)}
	edict.SetMetadata(ctx, answerKey, strconv.Itoa(call))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.runs[call] != nil {
		l.twice = append(l.twice, call)
	}
	l.runs[call] = r
	return r
}

// active returns how many commands run.
func (l *lab) active() int {
	n := 0
	for _, r := range l.runs {
		if r.state != over {
			n++
		}
	}
	return n
}

var (
	errBroken = errors.New("broken")
	errFailed = edict.Errorf(edict.DataLoss, "failed")
)

// serve does what the driver orders until it is told to end.
func (r *run) serve(ctx context.Context, inputs edict.Source[letter], results edict.Sink[letter]) (reply letter, err error) {
	defer func() {
		r.returned = err
		r.state = over
		if r.ended != nil {
			r.ended()
		}
	}()
	for o := range r.orders {
		r.ending = o.kind
		r.spoiled = r.spoiled || o.fault == undecodable
		switch o.kind {
		case orderSend:
			r.state = sending
			problem := results.Send(letter{Call: r.call, Index: r.sent, Size: o.size, Fault: o.fault})
			looked.Load()
			r.problem = problem
			r.failed = r.failed || problem != nil
			if r.problem == nil {
				r.sent++
				r.sizes = append(r.sizes, o.size)
			}
			r.state = resting
		case orderTake:
			r.state = taking
			input, problem := inputs.Receive()
			looked.Load()
			switch problem {
			case nil:
				r.taken = append(r.taken, input)
			case io.EOF:
				r.sawEnd = true
			default:
				r.stopped = problem
			}
			r.state = resting
		case orderFinish:
			return letter{Call: r.call, Index: replyIndex, Size: o.size, Fault: o.fault}, nil
		case orderFail:
			return letter{}, errFailed
		case orderBreak:
			return letter{}, errBroken
		case orderHeed:
			return letter{}, context.Cause(ctx)
		case orderPanic:
			panic("ordered")
		case orderExit:
			runtime.Goexit()
		case orderNone:
		}
	}
	return letter{}, nil
}

// replyIndex is the index of the result of a command that has one.
const replyIndex = 777

// plain is the codec of the simulation: fixed fields, then a text that follows from them, so that a
// body that was mixed up with another does not decode.
type plain struct{ name string }

func (p plain) Name() string           { return p.name }
func (plain) NamesFields() bool        { return false }
func (plain) Check(reflect.Type) error { return nil }

// letterHead is the size of a letter without its text.
const letterHead = 16

// keyShift is where the key begins in the field of the fault.
const keyShift = 8

func faultOf(field int) fault { return fault(field & (1<<keyShift - 1)) }

// text is long enough for any letter, from any of 251 beginnings.
var text = func() []byte {
	t := make([]byte, maxText+251)
	for i := range t {
		t[i] = byte(i % 251)
	}
	return t
}()

const maxText = 512 << 10

func (l letter) text() []byte { return text[(l.Call*7+l.Index)%251:][:l.Size] }

// Append implements codec.Codec.
func (plain) Append(dst []byte, value any) ([]byte, error) {
	var l letter
	switch value := value.(type) {
	case ask:
		l = letter(value)
	case list:
		l = letter(value)
	case talk:
		l = letter(value)
	case askInTurn:
		l = letter(value)
	case listInTurn:
		l = letter(value)
	case talkInTurn:
		l = letter(value)
	case letter:
		l = value
	default:
		return dst, nil
	}
	if l.Fault == unencodable {
		return dst, errors.New("unencodable")
	}
	for _, field := range []int{l.Call, l.Index, l.Size, int(l.Fault) | l.Key<<keyShift} {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(field))
	}
	return append(dst, l.text()...), nil
}

// Decode implements codec.Codec.
func (plain) Decode(src []byte, target any) error {
	var l letter
	switch target.(type) {
	case *bare, *none:
		if len(src) > 0 {
			return fmt.Errorf("%d bytes where none are wanted", len(src))
		}
		return nil
	}
	if len(src) < letterHead {
		return fmt.Errorf("%d bytes", len(src))
	}
	field := func(i int) int { return int(binary.LittleEndian.Uint32(src[4*i:])) }
	l = letter{Call: field(0), Index: field(1), Size: field(2), Fault: faultOf(field(3)), Key: field(3) >> keyShift}
	if l.Size != len(src)-letterHead || !bytes.Equal(src[letterHead:], l.text()) {
		return errMixedUp
	}
	if l.Fault == undecodable {
		return errors.New("undecodable")
	}
	switch target := target.(type) {
	case *ask:
		*target = ask(l)
	case *list:
		*target = list(l)
	case *talk:
		*target = talk(l)
	case *askInTurn:
		*target = askInTurn(l)
	case *listInTurn:
		*target = listInTurn(l)
	case *talkInTurn:
		*target = talkInTurn(l)
	case *letter:
		*target = l
	}
	return nil
}

// errMixedUp means that bytes have changed on their way: no seed may see it.
var errMixedUp = errors.New("the bytes are not those that were encoded")
