package grpcbridge

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	protoencoding "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"

	"github.com/edict-go/edict/core"
)

// messageCodec encodes the messages of one content-subtype. Without v1 and v2 it is Protocol Buffers, straight
// into and from the connection's buffers.
type messageCodec struct {
	subtype string // on the wire; empty for the default one
	v1      encoding.Codec
	v2      encoding.CodecV2
}

// codecFor returns the codec that is registered with gRPC for a content-subtype, and whether there is one.
func codecFor(subtype string) (messageCodec, bool) {
	c := messageCodec{subtype: subtype}
	if subtype == "" || subtype == protoencoding.Name {
		c.subtype, subtype = "", protoencoding.Name
	}
	c.v2, c.v1 = encoding.GetCodecV2(subtype), encoding.GetCodec(subtype)
	if c.v1 == nil && c.v2 == nil {
		return c, false
	}
	if c.v2 != nil && isDefault(c.v2) {
		c.v2 = nil
	}
	return c, true
}

// isDefault reports whether codec is gRPC's own one of Protocol Buffers, which need not be asked.
func isDefault(codec encoding.CodecV2) bool {
	t := reflect.TypeOf(codec)
	return t.Kind() == reflect.Pointer && t.Elem().PkgPath() == "google.golang.org/grpc/encoding/proto"
}

// defaultCodec is what calls use that name no other codec.
func defaultCodec() messageCodec {
	c, _ := codecFor("")
	return c
}

// append appends the encoding of message, and returns dst as it was if there is none.
func (c *messageCodec) append(dst []byte, message any) ([]byte, error) {
	switch {
	case message == nil: // as gRPC does
		return dst, nil
	case c.v2 != nil:
		slices, err := c.v2.Marshal(message)
		if err != nil {
			return dst, marshalError(err)
		}
		for _, slice := range slices {
			dst = append(dst, slice.ReadOnlyData()...)
		}
		slices.Free()
		return dst, nil
	case c.v1 != nil:
		encoded, err := c.v1.Marshal(message)
		if err != nil {
			return dst, marshalError(err)
		}
		return append(dst, encoded...), nil
	}
	protoMessage := protoOf(message)
	if protoMessage == nil {
		return dst, marshalError(fmt.Errorf("the message is %T, want proto.Message", message))
	}
	encoded, err := proto.MarshalOptions{}.MarshalAppend(dst, protoMessage)
	if err != nil {
		return dst, marshalError(err)
	}
	return encoded, nil
}

// decode decodes src into message, which does not refer to src afterwards.
func (c *messageCodec) decode(src []byte, message any) error {
	var err error
	switch {
	case c.v2 != nil: // it may keep a reference, but not to our buffer
		slices := mem.BufferSlice{mem.Copy(src, mem.DefaultBufferPool())}
		err = c.v2.Unmarshal(slices, message)
		slices.Free()
	case c.v1 != nil:
		err = c.v1.Unmarshal(bytes.Clone(src), message)
	default:
		if protoMessage := protoOf(message); protoMessage != nil {
			err = proto.Unmarshal(src, protoMessage)
		} else {
			err = fmt.Errorf("the message is %T, want proto.Message", message)
		}
	}
	if err != nil {
		return status.Errorf(codes.Internal, "grpc: failed to unmarshal the received message: %v", err)
	}
	return nil
}

func protoOf(message any) proto.Message {
	switch message := message.(type) {
	case proto.Message:
		return message
	case protoadapt.MessageV1:
		return protoadapt.MessageV2Of(message)
	}
	return nil
}

func marshalError(err error) error {
	return status.Errorf(codes.Internal, "grpc: error while marshaling: %v", err)
}

// messages is how one call's messages are encoded, in both directions.
type messages struct {
	codec      messageCodec
	compressor encoding.Compressor // nil without one
	maxReceive int                 // bytes of a decompressed message
	maxSend    int
}

// encoding returns the name of the call's compressor.
func (m *messages) encoding() string {
	if m.compressor == nil {
		return ""
	}
	return m.compressor.Name()
}

// compressorFor returns the compressor that is registered with gRPC; nil for the identity.
func compressorFor(name string) (encoding.Compressor, error) {
	if name == "" || name == encoding.Identity {
		return nil, nil
	}
	if compressor := encoding.GetCompressor(name); compressor != nil {
		return compressor, nil
	}
	return nil, status.Errorf(codes.Internal, "grpc: Compressor is not installed for requested grpc-encoding %q", name)
}

// append appends the encoding of message, and reports whether it is compressed and how long it was before.
func (m *messages) append(dst []byte, message any) (encoded []byte, compressed bool, size int, err error) {
	if m.compressor == nil {
		if encoded, err = m.codec.append(dst, message); err != nil {
			return dst, false, 0, err
		}
		size = len(encoded) - len(dst)
		return encoded, false, size, m.checkSend(size)
	}
	plain := core.GetBuffer(0)
	defer plain.Release()
	if plain.Bytes, err = m.codec.append(plain.Bytes, message); err != nil {
		return dst, false, 0, err
	}
	size = len(plain.Bytes)
	if size == 0 {
		return dst, false, 0, nil // nothing to gain
	}
	target := bytes.NewBuffer(dst)
	writer, err := m.compressor.Compress(target)
	if err == nil {
		if _, err = writer.Write(plain.Bytes); err == nil {
			err = writer.Close()
		}
	}
	if err != nil {
		return dst, false, 0, status.Errorf(codes.Internal, "grpc: error while compressing: %v", err)
	}
	return target.Bytes(), true, size, m.checkSend(target.Len() - len(dst))
}

func (m *messages) checkSend(size int) error {
	if size > m.maxSend {
		return status.Errorf(codes.ResourceExhausted, "trying to send message larger than max (%d vs. %d)", size, m.maxSend)
	}
	return nil
}

// decode decodes src, which is compressed or not, into message, and returns how long it is decompressed.
func (m *messages) decode(src []byte, compressed bool, message any) (int, error) {
	if !compressed {
		if len(src) > m.maxReceive {
			return 0, status.Errorf(codes.ResourceExhausted, "grpc: received message larger than max (%d vs. %d)", len(src), m.maxReceive)
		}
		return len(src), m.codec.decode(src, message)
	}
	if m.compressor == nil {
		return 0, status.Error(codes.Internal, "grpc: compressed flag set with identity or empty encoding")
	}
	reader, err := m.compressor.Decompress(bytes.NewReader(src))
	if err != nil {
		return 0, status.Errorf(codes.Internal, "grpc: failed to decompress the received message: %v", err)
	}
	if closer, ok := reader.(io.Closer); ok {
		defer func() { _ = closer.Close() }() // all that was wanted of it is read
	}
	plain, err := io.ReadAll(io.LimitReader(reader, int64(m.maxReceive)+1))
	if err != nil {
		return 0, status.Errorf(codes.Internal, "grpc: failed to decompress the received message: %v", err)
	}
	if len(plain) > m.maxReceive {
		return 0, status.Errorf(codes.ResourceExhausted, "grpc: received message after decompression larger than max %d", m.maxReceive)
	}
	return len(plain), m.codec.decode(plain, message)
}

// contentType is the metadata that gRPC's handlers see for a content-subtype.
func contentType(subtype string) string {
	if subtype == "" {
		return "application/grpc"
	}
	return "application/grpc+" + strings.ToLower(subtype)
}
