package delegate

import (
	"bytes"
	"testing"

	"github.com/edict-go/edict/auth"
	"github.com/edict-go/edict/core"
)

// What was decoded is encoded in one way, whatever way it came in: so the second encoding must be
// that of the first.

func FuzzDecodeHello(f *testing.F) {
	f.Add([]byte{})
	f.Add(appendHello(nil, goodHello()))
	f.Add(appendHello(nil, vectorHello))
	f.Add(appendHello(appendNumber(nil, 1<<60, 5), hello{}))
	f.Add([]byte{3, 7, 0, 0, 0, 0, 0, 0, 0})
	f.Add(appendHello(nil, hello{token: auth.NewToken("sesame")}))
	f.Fuzz(func(t *testing.T, body []byte) {
		h, err := decodeHello(body)
		if err != nil {
			return
		}
		size := len(h.name) + len(h.token.Reveal())
		if len(h.token.Reveal()) > auth.MaxToken {
			t.Errorf("a token of %d bytes", len(h.token.Reveal()))
		}
		for _, codec := range h.codecs {
			size += len(codec)
		}
		for _, compression := range h.compressions {
			size += len(compression)
		}
		for _, command := range h.commands {
			size += len(command.name)
		}
		if size > len(body) {
			t.Errorf("%d bytes became %d", len(body), size)
		}
		encoded := appendHello(nil, h)
		again, err := decodeHello(encoded)
		if err != nil || !bytes.Equal(appendHello(nil, again), encoded) {
			t.Errorf("%+v became %+v, %v", h, again, err)
		}
	})
}

func FuzzDecodeWelcome(f *testing.F) {
	f.Add([]byte{})
	f.Add(appendWelcome(nil, goodWelcome()))
	f.Add(appendWelcome(nil, vectorWelcome))
	f.Add(appendWelcome(nil, welcome{differences: []difference{{5, "unary\n. int"}, {6, ""}}}))
	f.Fuzz(func(t *testing.T, body []byte) {
		w, err := decodeWelcome(body)
		if err != nil {
			return
		}
		encoded := appendWelcome(nil, w)
		again, err := decodeWelcome(encoded)
		if err != nil || !bytes.Equal(appendWelcome(nil, again), encoded) {
			t.Errorf("%+v became %+v, %v", w, again, err)
		}
	})
}

func FuzzDecodeReject(f *testing.F) {
	f.Add([]byte{})
	f.Add(appendReject(nil, &core.Error{Code: core.Aborted, Message: "m"}))
	f.Add([]byte{1, 1, 5})
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := decodeReject(body)
		if err != nil {
			return
		}
		encoded := appendReject(nil, e)
		again, err := decodeReject(encoded)
		if err != nil || !bytes.Equal(appendReject(nil, again), encoded) {
			t.Errorf("%+v became %+v, %v", e, again, err)
		}
	})
}
