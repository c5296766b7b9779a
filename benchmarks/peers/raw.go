package peers

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"sync"

	"github.com/edict-go/edict/benchmarks/peer"
	"github.com/edict-go/edict/internal/raw"
)

func init() {
	peer.Register(peer.Peer{
		Name:  "raw",
		About: "framed echo with combining writes on a bare connection, hand-written encoding, no deadlines: the physical limit",
		Limit: true,
		Serve: func(options peer.ServeOptions) (peer.Server, error) {
			listener, err := peer.Listen(options.TLS)
			if err != nil {
				return nil, err
			}
			return rawServer{raw.Serve(listener, peer.Delay)}, nil
		},
		Dial: func(ctx context.Context, options peer.DialOptions) (peer.Client, error) {
			conn, err := peer.DialConn(ctx, options)
			if err != nil {
				return nil, err
			}
			return &rawClient{client: raw.Dial(conn)}, nil
		},
	})
}

type rawServer struct{ *raw.Server }

func (s rawServer) Address() string { return s.Server.Address().String() }

type rawClient struct {
	client  *raw.Client
	buffers sync.Pool // of *rawBuffers
}

type rawBuffers struct{ request, reply []byte }

func (c *rawClient) Echo(_ context.Context, request peer.Message) (peer.Message, error) {
	return c.call(request, c.client.Call)
}

func (c *rawClient) Delayed(_ context.Context, request peer.Message) (peer.Message, error) {
	return c.call(request, c.client.Delayed)
}

func (c *rawClient) Stream(_ context.Context, count, size int, each func([]byte) error) error {
	return c.client.Stream(count, size, each)
}

func (c *rawClient) Close() error { return c.client.Close() }

func (c *rawClient) call(request peer.Message, call func(reply, body []byte) ([]byte, error)) (peer.Message, error) {
	buffers, _ := c.buffers.Get().(*rawBuffers)
	if buffers == nil {
		buffers = new(rawBuffers)
	}
	defer c.buffers.Put(buffers)
	buffers.request = appendMessage(buffers.request[:0], request)
	var err error
	buffers.reply, err = call(buffers.reply[:0], buffers.request)
	if err != nil {
		return peer.Message{}, err
	}
	return decodeMessage(buffers.reply)
}

// appendMessage is the shortest encoding there is: fixed sizes, the text last.
func appendMessage(buffer []byte, message peer.Message) []byte {
	flag := byte(0)
	if message.Flag {
		flag = 1
	}
	buffer = append(buffer, flag)
	buffer = binary.LittleEndian.AppendUint64(buffer, uint64(message.Number))
	buffer = binary.LittleEndian.AppendUint64(buffer, math.Float64bits(message.Ratio))
	return append(buffer, message.Text...)
}

func decodeMessage(body []byte) (peer.Message, error) {
	const fixed = 1 + 8 + 8
	if len(body) < fixed || body[0] > 1 {
		return peer.Message{}, errors.New("malformed message")
	}
	return peer.Message{
		Flag:   body[0] == 1,
		Number: int64(binary.LittleEndian.Uint64(body[1:])),
		Ratio:  math.Float64frombits(binary.LittleEndian.Uint64(body[9:])),
		Text:   string(body[fixed:]),
	}, nil
}
