package peers

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/edict-go/edict/benchmarks/peer"
	"github.com/edict-go/edict/benchmarks/peers/echopb"
)

func init() {
	peer.Register(peer.Peer{
		Name:   "nats",
		About:  "github.com/nats-io/nats.go request-reply with protocol buffers through an embedded nats-server, the responder connected in process",
		Module: "github.com/nats-io/nats-server/v2",
		Lacks: map[peer.Feature]string{
			peer.Streams: "core NATS has no flow control: a reader that falls behind is cut off or loses messages",
		},
		Serve: serveNATS,
		Dial:  dialNATS,
	})
}

const natsStart = 10 * time.Second

type natsServer struct {
	server    *server.Server
	responder *nats.Conn
}

func serveNATS(options peer.ServeOptions) (peer.Server, error) {
	broker, err := server.NewServer(&server.Options{
		Host:       "127.0.0.1",
		Port:       server.RANDOM_PORT,
		NoLog:      true,
		NoSigs:     true,
		TLS:        options.TLS != nil,
		TLSConfig:  options.TLS,
		TLSTimeout: natsStart.Seconds(),
	})
	if err != nil {
		return nil, err
	}
	go broker.Start()
	if !broker.ReadyForConnections(natsStart) {
		broker.Shutdown()
		return nil, errors.New("the embedded nats-server didn't start")
	}
	s := &natsServer{server: broker}
	if err := s.respond(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *natsServer) respond() error {
	var err error
	if s.responder, err = nats.Connect("", nats.InProcessServer(s.server)); err != nil {
		return err
	}
	// A subscription's callbacks run one after the other; the one that sleeps makes its own goroutine.
	if _, err := s.responder.Subscribe("echo", natsReply); err != nil {
		return err
	}
	_, err = s.responder.Subscribe("delayed", func(message *nats.Msg) {
		go func() {
			time.Sleep(peer.Delay)
			natsReply(message)
		}()
	})
	if err != nil {
		return err
	}
	return s.responder.Flush()
}

// natsReply decodes the request and encodes it again, as a service would.
func natsReply(message *nats.Msg) {
	var request echopb.Message
	if proto.Unmarshal(message.Data, &request) != nil {
		return
	}
	reply, err := proto.Marshal(&request)
	if err != nil {
		return
	}
	message.Respond(reply) //nolint:errcheck // the caller notices
}

func (s *natsServer) Address() string { return s.server.Addr().String() }

func (s *natsServer) Close() error {
	if s.responder != nil {
		s.responder.Close()
	}
	s.server.Shutdown()
	s.server.WaitForShutdown()
	return nil
}

type natsClient struct{ conn *nats.Conn }

func dialNATS(_ context.Context, options peer.DialOptions) (peer.Client, error) {
	settings := []nats.Option{nats.NoReconnect(), nats.Timeout(natsStart)}
	if options.TLS != nil {
		settings = append(settings, nats.Secure(options.TLS))
	}
	conn, err := nats.Connect("nats://"+options.Address, settings...)
	if err != nil {
		return nil, err
	}
	return natsClient{conn}, nil
}

func (c natsClient) Echo(ctx context.Context, request peer.Message) (peer.Message, error) {
	return c.call(ctx, "echo", request)
}

func (c natsClient) Delayed(ctx context.Context, request peer.Message) (peer.Message, error) {
	return c.call(ctx, "delayed", request)
}

func (c natsClient) call(ctx context.Context, subject string, request peer.Message) (peer.Message, error) {
	body, err := proto.Marshal(toProto(request))
	if err != nil {
		return peer.Message{}, err
	}
	message, err := c.conn.RequestWithContext(ctx, subject, body)
	if err != nil {
		return peer.Message{}, err
	}
	var reply echopb.Message
	if err := proto.Unmarshal(message.Data, &reply); err != nil {
		return peer.Message{}, err
	}
	return fromProto(&reply), nil
}

func (c natsClient) Close() error {
	c.conn.Close()
	return nil
}
