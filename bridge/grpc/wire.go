package grpcbridge

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/edict-go/edict/core"
)

// What the three commands are called, and the name of their format. PROTOCOL.md describes it.
const (
	unaryName  = "grpc.unary"
	streamName = "grpc.stream"
	duplexName = "grpc.duplex"
	format     = "grpc/1"
)

// The first byte of a COMMAND's body.
const (
	formName       = 1 << 0 // the method goes by its name, not by the name's hash
	formSubtype    = 1 << 1 // the content-subtype follows
	formEncoding   = 1 << 2 // the name of the call's compressor follows
	formCompressed = 1 << 3 // the message is compressed with it
	formKnown      = formName | formSubtype | formEncoding | formCompressed
)

// The first byte of an INPUT's or a RESULT's body.
const (
	partMessage    = 0      // a message
	partHeader     = 1 << 0 // the header of a stream, encoded as Edict's metadata, instead of a message
	partCompressed = 1 << 3 // the message is compressed with the call's compressor
)

const (
	// headerPrefix marks the header in the metadata at the end of a call, where the trailer is too. No key of
	// gRPC's can begin so.
	headerPrefix = ":"
	// detailsKey has the whole status, encoded, if it has details.
	detailsKey = "grpc-status-details-bin"
	// codeKey has the status's code in decimal digits, if it is not one of the canonical ones.
	codeKey = "grpc-status"
	// nameWanted is the reason of the refusal of a hash that the server does not know.
	nameWanted = "grpc-name-wanted"
)

// request is the head of a COMMAND's body: which method, and how its messages are encoded.
type request struct {
	form     byte
	hash     uint64 // of the method's name, or
	name     string // the name
	subtype  string
	encoding string
}

// append appends the head; the message follows.
func (r *request) append(dst []byte) []byte {
	dst = append(dst, r.form)
	if r.form&formName != 0 {
		dst = appendString(dst, r.name)
	} else {
		dst = binary.LittleEndian.AppendUint64(dst, r.hash)
	}
	if r.form&formSubtype != 0 {
		dst = appendString(dst, r.subtype)
	}
	if r.form&formEncoding != 0 {
		dst = appendString(dst, r.encoding)
	}
	return dst
}

// parseRequest cuts a COMMAND's body in its head and its message, which refers to body.
func parseRequest(body []byte) (r request, message []byte, err error) {
	if len(body) == 0 {
		return r, nil, errors.New("it is empty")
	}
	r.form, body = body[0], body[1:]
	if r.form&^formKnown != 0 {
		return r, nil, fmt.Errorf("it has the form %#02x, which is unknown here", r.form)
	}
	if r.form&formCompressed != 0 && r.form&formEncoding == 0 {
		return r, nil, errors.New("it is compressed, and does not say how")
	}
	ok := true
	if r.form&formName != 0 {
		r.name, body, ok = cutString(body)
	} else if ok = len(body) >= 8; ok {
		r.hash, body = binary.LittleEndian.Uint64(body), body[8:]
	}
	if ok && r.form&formSubtype != 0 {
		r.subtype, body, ok = cutString(body)
	}
	if ok && r.form&formEncoding != 0 {
		r.encoding, body, ok = cutString(body)
	}
	if !ok {
		return r, nil, errors.New("it is too short")
	}
	return r, body, nil
}

// hashOf returns the hash of a method's name: FNV-1a with 64 bits.
func hashOf(name string) uint64 {
	hash := uint64(14695981039346656037)
	for i := range len(name) {
		hash = (hash ^ uint64(name[i])) * 1099511628211
	}
	return hash
}

// cutPart cuts the body of an INPUT or RESULT in its kind and its content.
func cutPart(body []byte) (kind byte, content []byte, err error) {
	if len(body) == 0 {
		return 0, nil, errors.New("it is empty")
	}
	switch kind = body[0]; kind {
	case partMessage, partHeader, partCompressed:
		return kind, body[1:], nil
	}
	return 0, nil, fmt.Errorf("it is of the kind %#02x, which is unknown here", kind)
}

// appendString appends a uvarint length and the bytes of s.
func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// cutString is the reverse of appendString; it reports whether src began with a whole string.
func cutString(src []byte) (s string, rest []byte, ok bool) {
	length, n := binary.Uvarint(src)
	if n <= 0 || length > uint64(len(src)-n) {
		return "", src, false
	}
	return string(src[n : n+int(length)]), src[n+int(length):], true
}

// splitMetadata divides the metadata at the end of a call in what it consists of.
func splitMetadata(all core.Metadata) (header, trailer map[string][]string) {
	for key, values := range all {
		switch {
		case key == codeKey:
		case len(key) > 0 && key[:1] == headerPrefix:
			if header == nil {
				header = map[string][]string{}
			}
			header[key[1:]] = values
		default:
			if trailer == nil {
				trailer = map[string][]string{}
			}
			trailer[key] = values
		}
	}
	return header, trailer
}
