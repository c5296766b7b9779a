package text

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/edict-go/edict/core"
)

// request is what a line of a client says.
type request struct {
	Command  *string         `json:"cmd"`
	ID       json.RawMessage `json:"id"`
	Body     json.RawMessage `json:"body"`
	Input    json.RawMessage `json:"input"`
	End      bool            `json:"end"`
	Cancel   bool            `json:"cancel"`
	Timeout  *float64        `json:"timeout_ms"`
	Metadata map[string]any  `json:"metadata"`
	Token    string          `json:"token"`
	Name     string          `json:"name"`
}

// maxID bounds what a client may call a call, in bytes.
const maxID = 128

// parse returns what a line says. Its error is for the client.
func parse(line []byte) (request, *core.Error) {
	var r request
	if err := json.Unmarshal(line, &r); err != nil {
		return request{}, core.Errorf(core.InvalidArgument, "the line is no request in JSON: %v", err)
	}
	if !validID(r.ID) {
		return request{}, core.Errorf(core.InvalidArgument, "an id is a number or a text of at most %d bytes", maxID)
	}
	if string(r.ID) == "null" {
		r.ID = nil
	}
	kinds := 0
	for _, is := range []bool{r.Command != nil, r.Input != nil, r.End, r.Cancel} {
		if is {
			kinds++
		}
	}
	switch {
	case kinds == 0 && r.Token != "": // to say who is there, and no more
	case kinds != 1:
		return r, core.Errorf(core.InvalidArgument, `one of the members "cmd", "input", "end" and "cancel" is wanted`)
	case r.Command == nil && r.ID == nil:
		return r, core.Errorf(core.InvalidArgument, `the member "id" is wanted: of the call that it is for`)
	case r.Timeout != nil && !(*r.Timeout > 0):
		return r, core.Errorf(core.InvalidArgument, `"timeout_ms" is a number of milliseconds, more than 0`)
	}
	return r, nil
}

func validID(id json.RawMessage) bool {
	if len(id) == 0 || string(id) == "null" {
		return true
	}
	return len(id) <= maxID && (id[0] == '"' || id[0] == '-' || id[0] >= '0' && id[0] <= '9')
}

// timeout returns the time left for the call.
func (r *request) timeout() time.Duration {
	return time.Duration(min(*r.Timeout*float64(time.Millisecond), math.MaxInt64/2))
}

// encodeMetadata returns the metadata as a frame has it; values are texts, or lists of texts.
func (r *request) encodeMetadata() ([]byte, *core.Error) {
	metadata := core.Metadata{}
	for key, value := range r.Metadata {
		switch value := value.(type) {
		case string:
			metadata.Add(key, value)
		case []any:
			for _, each := range value {
				text, ok := each.(string)
				if !ok {
					return nil, core.Errorf(core.InvalidArgument, "metadata %q has a value that is no text", key)
				}
				metadata.Add(key, text)
			}
		default:
			return nil, core.Errorf(core.InvalidArgument, "metadata %q is neither a text nor a list of texts", key)
		}
	}
	encoded, err := core.AppendMetadata(nil, metadata)
	if err != nil {
		return nil, core.AsError(err)
	}
	return encoded, nil
}

// appendID begins an answer.
func appendID(dst []byte, id json.RawMessage) []byte {
	if id == nil {
		return append(dst, '{')
	}
	return append(append(append(dst, `{"id":`...), id...), ',')
}

// appendResult appends the line of a result. If it is the last one, metadata, which is encoded, goes with it.
func appendResult(dst []byte, id json.RawMessage, body []byte, last bool, metadata []byte) []byte {
	dst = append(appendID(dst, id), `"result":`...)
	switch {
	case len(body) == 0:
		dst = append(dst, "null"...)
	case bytes.IndexByte(body, '\n') >= 0:
		var compact bytes.Buffer
		if json.Compact(&compact, body) != nil {
			compact.Reset()
			compact.WriteString("null") // it is no JSON: the codec has promised that it is
		}
		dst = append(dst, compact.Bytes()...)
	default:
		dst = append(dst, body...)
	}
	if last {
		dst = appendMetadata(append(dst, `,"end":true`...), metadata)
	}
	return append(dst, '}', '\n')
}

// appendEnd appends the line that ends a call well.
func appendEnd(dst []byte, id json.RawMessage, metadata []byte) []byte {
	return append(appendMetadata(append(appendID(dst, id), `"end":true`...), metadata), '}', '\n')
}

// lineError is an error in a line.
type lineError struct {
	Code       string       `json:"code"`
	Outcome    string       `json:"outcome"`
	Reason     string       `json:"reason,omitempty"`
	Message    string       `json:"message"`
	RetryAfter float64      `json:"retry_after_ms,omitempty"`
	Details    []lineDetail `json:"details,omitempty"`
}

type lineDetail struct {
	Type  string          `json:"type"`
	Value json.RawMessage `json:"value"`
}

// appendError appends the line that ends a call with an error, or tells of one that belongs to no call.
func appendError(dst []byte, id json.RawMessage, e *core.Error, metadata []byte) []byte {
	dst = append(append(appendID(dst, id), `"error":`...), encodeError(e)...)
	return append(appendMetadata(append(dst, `,"end":true`...), metadata), '}', '\n')
}

// appendClosing appends the line that says why the server takes no more commands.
func appendClosing(dst []byte, e *core.Error) []byte {
	return append(append(append(dst, `{"closing":`...), encodeError(e)...), '}', '\n')
}

func encodeError(e *core.Error) []byte {
	l := lineError{
		Code: e.Code.String(), Outcome: e.Outcome.String(), Reason: e.Reason, Message: e.Message,
		RetryAfter: float64(e.RetryAfter) / float64(time.Millisecond),
	}
	for _, detail := range e.Details {
		value := json.RawMessage(detail.JSON)
		if !json.Valid(value) {
			value = json.RawMessage("null")
		}
		l.Details = append(l.Details, lineDetail{detail.Type, value})
	}
	encoded, err := json.Marshal(l)
	if err != nil { // it has nothing that could fail
		return fmt.Appendf(nil, `{"code":"internal","outcome":"unknown","message":%q}`, "the error can't be told")
	}
	return encoded
}

// appendMetadata appends a member with encoded metadata, if there is any.
func appendMetadata(dst, encoded []byte) []byte {
	if len(encoded) == 0 {
		return dst
	}
	metadata, err := core.DecodeMetadata(encoded)
	if err != nil {
		return dst
	}
	text, err := json.Marshal(metadata)
	if err != nil {
		return dst
	}
	return append(append(dst, `,"metadata":`...), text...)
}
