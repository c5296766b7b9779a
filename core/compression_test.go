package core_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/edict-go/edict/core"
)

// runs is a compression that can do little: a length, and then runs of one byte, each as their length and
// the byte. It counts what it is asked to do.
type runs struct{ appended, decoded int }

func (*runs) Name() string { return "runs" }

func (r *runs) Append(dst, src []byte) []byte {
	r.appended++
	dst = binary.AppendVarint(dst, int64(len(src)))
	for len(src) > 0 {
		n := len(src) - len(bytes.TrimLeft(src, string(src[:1])))
		dst = append(binary.AppendUvarint(dst, uint64(n)), src[0])
		src = src[n:]
	}
	return dst
}

func (*runs) DecodedLen(src []byte) (int, error) {
	size, n := binary.Varint(src)
	if n <= 0 {
		return 0, errors.New("no length")
	}
	return int(size), nil
}

func (r *runs) Decode(dst, src []byte) error {
	r.decoded++
	_, n := binary.Varint(src)
	for src = src[n:]; len(src) > 0; {
		length, n := binary.Uvarint(src)
		if n <= 0 || n == len(src) || length > uint64(len(dst)) {
			return errors.New("a wrong run")
		}
		copy(dst, bytes.Repeat(src[n:n+1], int(length)))
		dst, src = dst[length:], src[n+1:]
	}
	if len(dst) > 0 {
		return errors.New("too short")
	}
	return nil
}

func bufferOf(text string) *core.Buffer {
	buffer := core.GetBuffer(len(text))
	buffer.Bytes = append(buffer.Bytes, text...)
	return buffer
}

func TestWhatIsCompressed(t *testing.T) {
	half := strings.Repeat("ab", 40) // no runs: becomes twice as long
	for _, test := range []struct {
		name, text string
		compressed bool
	}{
		{"empty", "", false},
		{"below the threshold", strings.Repeat("a", 99), false},
		{"the threshold", strings.Repeat("a", 100), true},
		{"the largest that the peer takes", strings.Repeat("a", 1000), true},
		{"larger", strings.Repeat("a", 1001), false},
		{"longer when compressed", half + half, false},
		// Of 160 bytes: 2 for the length, and 2 for each of 69 runs, or 70.
		{"an eighth less", strings.Repeat("a", 92) + strings.Repeat("ba", 34), true},
		{"not quite an eighth less", strings.Repeat("a", 91) + strings.Repeat("ba", 34) + "b", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			algorithm := &runs{}
			compressor := &core.Compressor{Compression: algorithm, Threshold: 100, MaxReceive: 1000, MaxSend: 1000}
			buffer := bufferOf(test.text)
			buffer.Compressed = true // of its last use
			compressor.Compress(buffer)
			if buffer.Compressed != test.compressed || !test.compressed && string(buffer.Bytes) != test.text {
				t.Errorf("compressed: %v, %q", buffer.Compressed, buffer.Bytes)
			}
			if test.compressed && len(buffer.Bytes) > len(test.text)*7/8 {
				t.Errorf("%d bytes became %d", len(test.text), len(buffer.Bytes))
			}
			if tried := len(test.text) >= 100 && len(test.text) <= 1000; tried != (algorithm.appended == 1) {
				t.Errorf("compressed %d times", algorithm.appended)
			}
			if err := compressor.Inflate(buffer, "it"); err != nil || buffer.Compressed || string(buffer.Bytes) != test.text {
				t.Errorf("inflated to %q, %v", buffer.Bytes, err)
			}
			if algorithm.decoded == 1 != test.compressed {
				t.Errorf("decoded %d times", algorithm.decoded)
			}
		})
	}
}

// A buffer that has been compressed, and one whose parts are joined, are inflated like others.
func TestAChainIsInflated(t *testing.T) {
	compressor := &core.Compressor{Compression: &runs{}, MaxReceive: 1000, MaxSend: 1000}
	whole := bufferOf(strings.Repeat("a", 500) + strings.Repeat("b", 500))
	compressor.Compress(whole)
	chain := bufferOf(string(whole.Bytes[:3]))
	chain.Extend(bufferOf(string(whole.Bytes[3:])))
	chain.Compressed = true
	if err := compressor.Inflate(chain, "it"); err != nil || string(chain.Bytes) != strings.Repeat("a", 500)+strings.Repeat("b", 500) {
		t.Errorf("%d bytes, %v", len(chain.Bytes), err)
	}
	chain.Compressed = true
	chain.Release()
	for range 10 { // until the pool gives that one back
		if buffer := core.GetBuffer(2000); buffer.Compressed {
			t.Fatal("a new buffer is compressed")
		}
	}
}

func TestWhatIsNotInflated(t *testing.T) {
	for _, test := range []struct {
		name    string
		body    []byte
		code    core.Code
		message string
		decoded int
	}{
		{"too large", binary.AppendVarint(nil, 1001), core.ResourceExhausted, "the result has 1001 bytes when it is inflated; at most 1000 are accepted (MaxFrame)", 0},
		{"far too large", binary.AppendVarint(nil, 1<<40), core.ResourceExhausted, "has 1099511627776 bytes", 0},
		{"negative", binary.AppendVarint(nil, -1), core.InvalidArgument, "a length of -1", 0},
		{"empty", nil, core.InvalidArgument, "can't inflate the result (runs): no length", 0},
		{"less than announced", append(binary.AppendVarint(nil, 10), 9, 'a'), core.InvalidArgument, "too short", 1},
		{"more than announced", append(binary.AppendVarint(nil, 10), 11, 'a'), core.InvalidArgument, "a wrong run", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			algorithm := &runs{}
			compressor := &core.Compressor{Compression: algorithm, MaxReceive: 1000, MaxSend: 1000}
			buffer := &core.Buffer{Bytes: test.body, Compressed: true}
			err := compressor.Inflate(buffer, "the result")
			if core.CodeOf(err) != test.code || !strings.Contains(fmt.Sprint(err), test.message) || algorithm.decoded != test.decoded {
				t.Errorf("%v (%v) after %d times", err, core.CodeOf(err), algorithm.decoded)
			}
		})
	}
	largest := &core.Buffer{Bytes: append(binary.AppendVarint(nil, 1000), 0xe8, 7, 'a'), Compressed: true}
	compressor := &core.Compressor{Compression: &runs{}, MaxReceive: 1000, MaxSend: 1000}
	if err := compressor.Inflate(largest, "it"); err != nil || len(largest.Bytes) != 1000 {
		t.Errorf("%d bytes, %v", len(largest.Bytes), err)
	}
}

// compressing is the configuration of a client that has agreed to compress.
func compressing() core.ClientConfig {
	return core.ClientConfig{Window: 1000, Compressor: &core.Compressor{Compression: &runs{}, Threshold: 100, MaxReceive: 1000, MaxSend: 1000}}
}

// A client compresses the body and nothing else.
func TestACompressedCommand(t *testing.T) {
	talk(t, compressing(), func(c *conversation) {
		ctx, cancel := context.WithTimeout(c.Context(), time.Second)
		defer cancel()
		out := unary(strings.Repeat("a", 300))
		out.Options = &core.RequestOptions{Metadata: core.Metadata{"key": {strings.Repeat("m", 200)}}}
		exchange := c.start(ctx, out)
		frame := c.wantSent("the command", core.KindCommand)
		if frame.Flags != core.FlagCompressed|core.FlagMetadata|core.FlagTimeout || len(frame.Body) > 10 || frame.Timeout != time.Second {
			t.Errorf("sent %+v", frame)
		}
		if got, err := core.DecodeMetadata(frame.Metadata); err != nil || got.Get("key") != out.Options.Metadata.Get("key") {
			t.Errorf("metadata %q, %v", frame.Metadata, err)
		}
		c.says(lastResult(frame.Sequence, "plain"))
		c.wantResult(exchange, "plain")
		exchange.Close()

		// The next one, with the same call from the pool, is small and goes as it is.
		exchange = c.start(c.Context(), unary("small"))
		if frame := c.wantSent("the next command", core.KindCommand); frame.Flags != 0 || string(frame.Body) != "small" {
			t.Errorf("sent %+v", frame)
		}
		exchange.Close()
	})
}

func compressedResult(sequence core.Sequence, body []byte) core.Frame {
	return core.Frame{Kind: core.KindResult, Flags: core.FlagCompressed, Sequence: sequence, Body: body}
}

func compressedLast(sequence core.Sequence, text string) core.Frame {
	frame := compressedResult(sequence, (&runs{}).Append(nil, []byte(text)))
	frame.Flags |= core.FlagLast
	return frame
}

// What is wrong with a compressed result ends its call, and nothing else.
func TestResultsThatCanNotBeInflated(t *testing.T) {
	for _, test := range []struct {
		name  string
		body  []byte
		code  core.Code
		words string
	}{
		{"too large", binary.AppendVarint(nil, 1<<30), core.ResourceExhausted, "the result has 1073741824 bytes when it is inflated"},
		{"truncated", binary.AppendVarint(nil, 100), core.Internal, "can't inflate the result"},
		{"empty", nil, core.Internal, "can't inflate the result"},
	} {
		t.Run(test.name, func(t *testing.T) {
			talk(t, compressing(), func(c *conversation) {
				for range 3 {
					exchange := c.start(c.Context(), unary("x"))
					bad := compressedResult(c.wantSent("the command", core.KindCommand).Sequence, test.body)
					bad.Flags |= core.FlagLast
					c.says(bad)
					c.wantError(exchange, test.code, core.Executed, test.words)
					exchange.Close()
					c.wantSilence("the call has ended")
				}
				exchange := c.start(c.Context(), stream("count"))
				sequence := c.wantSent("the command", core.KindCommand).Sequence
				c.says(result(sequence, "1"), compressedResult(sequence, test.body), result(sequence, "3"))
				c.wantResult(exchange, "1")
				c.wantError(exchange, test.code, core.Executed, test.words) // and not 3: there would be a gap
				c.wantSent("the server need not go on", core.KindCancel)
				c.says(end(sequence))
				exchange.Close()

				exchange = c.start(c.Context(), unary("x"))
				c.says(compressedLast(c.wantSent("the command", core.KindCommand).Sequence, strings.Repeat("x", 1000)))
				c.wantResult(exchange, strings.Repeat("x", 1000))
				exchange.Close()
			})
		})
	}
}

// The window is for what is on the wire.
func TestCreditIsForCompressedBytes(t *testing.T) {
	talk(t, compressing(), func(c *conversation) {
		exchange := c.start(c.Context(), stream("count"))
		sequence := c.wantSent("the command", core.KindCommand).Sequence
		text := strings.Repeat("x", 900)
		body := (&runs{}).Append(nil, []byte(text))
		cost := len(body) + core.ResultOverhead
		for range 1000/cost - 1 {
			c.says(compressedResult(sequence, body))
		}
		for range 500/cost + 1 { // then half a window is used
			c.wantSilence("no credit is due yet")
			c.wantResult(exchange, text)
		}
		credit := c.wantSent("half a window is taken", core.KindCredit)
		if size := binary.LittleEndian.Uint32(credit.Body); size != uint32((500/cost+1)*cost) {
			t.Errorf("the credit is %d, %d results of %d bytes were taken", size, 500/cost+1, cost)
		}
		exchange.Close()
	})
}

// A server that sends what was not agreed on breaks the protocol.
func TestACompressedResultWithoutAgreement(t *testing.T) {
	for _, out := range []*core.Outgoing{unary("x"), stream("count")} {
		talk(t, core.ClientConfig{}, func(c *conversation) {
			exchange := c.start(c.Context(), out)
			c.says(compressedLast(c.wantSent("the command", core.KindCommand).Sequence, "x"))
			c.wantEnded("a compressed result, which was not agreed on")
			c.wantError(exchange, core.Unavailable, core.OutcomeUnknown, "a compressed result")
			exchange.Close()
		})
	}
}
