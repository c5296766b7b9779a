package edict

import (
	"context"
	"crypto/tls"
	"log/slog"
	"math"
	"net"
	"slices"
	"time"

	"github.com/edict-go/edict/codec"
	"github.com/edict-go/edict/codec/json"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/delegate"
	"github.com/edict-go/edict/handler"
)

// DialOption changes what Dial does. A ClientConfig is one too.
type DialOption interface{ applyToDial(*dialSettings) }

// ServerOption changes what a server does. A ServerConfig is one too.
type ServerOption interface{ applyToServer(*serverSettings) }

// Option is for clients and servers alike.
type Option interface {
	DialOption
	ServerOption
}

// ClientConfig has a client's settings that are data. The zero value works. Give it to Dial as an
// option.
type ClientConfig struct {
	// Name is what the client calls itself in the server's logs.
	Name string
	// MaxFrame is the largest message (one result) that is accepted, in bytes; 0 is 4 MiB. It is
	// 64 KiB at least.
	MaxFrame int
	// MaxInFlight is how many commands may be in flight, beyond what the server allows; 0 is 16,384.
	MaxInFlight int
	// Window is how many bytes of a stream's results may be under way before the caller takes some. Streams
	// begin with 16 KiB, or what others of the connection have needed, and grow up to this as far as
	// bandwidth and delay need it and the Budget allows; 0 is 4 MiB.
	Window int
	// ConnectionBytes is how much of the Budget this connection may use; 0 is 64 MiB, or what four messages of
	// MaxFrame need if that is more.
	ConnectionBytes int64
	// HandshakeBytes and HandshakeTimeout bound the handshake; 0 is 64 KiB and 5 s.
	HandshakeBytes   int
	HandshakeTimeout time.Duration
	// WriteTimeout is how long the server may take nothing of what is written before the connection
	// is given up; 0 is 30 s.
	WriteTimeout time.Duration
	// KeepaliveInterval is how long nothing may be received before the client sends a PING, to find out
	// whether the server is there still; 0 is 15 s, negative is never. The server may want it to be longer.
	// KeepaliveTimeout is how long nothing may come after that before the connection is given up; 0 is
	// 10 s. It should be longer than the network takes to carry half a megabyte, which may be queued before
	// the PING.
	KeepaliveInterval, KeepaliveTimeout time.Duration
	// FrameTimeout is how long a frame or message that the server has begun may take, beside a second for each KiB
	// of it, before the connection is given up; 0 is 30 s.
	FrameTimeout time.Duration
	// CompressionThreshold is the size, in bytes, from which an encoded command or input is compressed, on
	// connections that have agreed to compress (see WithCompression); 0 is 4 KiB. If it is negative the
	// client compresses nothing; results may come compressed all the same.
	CompressionThreshold int
	// AllowShapeDifferences lets Dial succeed although some commands have another shape on the
	// server, as during a rolling upgrade. Codecs that write the names of fields cope with fields
	// that only one side has; with those that don't (MUS, compact MessagePack) just the commands
	// that differ fail, without being sent. By default Dial fails and names the command and field.
	AllowShapeDifferences bool
}

// ServerConfig has a server's settings that are data. The zero value works. Give it to NewServer as
// an option.
type ServerConfig struct {
	// Name is what the server calls itself to its clients.
	Name string
	// MaxFrame is the largest message (one command) that is accepted, in bytes; 0 is 4 MiB. It is
	// 64 KiB at least.
	MaxFrame int
	// MaxInFlight is how many commands one connection may have in flight; 0 is 16,384. Clients are
	// told, and wait.
	MaxInFlight int
	// Window is how many bytes of a command's inputs may be under way before it takes some. It begins with
	// 16 KiB, or what others of the connection have needed, and grows up to this as far as bandwidth
	// and delay need it and the Budget allows; 0 is 4 MiB.
	Window int
	// ConnectionBytes is how much of the Budget one connection may use; 0 is 64 MiB, or what four messages of
	// MaxFrame need if that is more.
	ConnectionBytes int64
	// CompressionThreshold is the size, in bytes, from which an encoded result is compressed, on connections
	// that have agreed to compress (see WithCompression); 0 is 4 KiB. If it is negative the server
	// compresses nothing; commands and inputs may come compressed all the same.
	CompressionThreshold int
	// MaxInFlightServer is how many commands may be in flight on all connections together; 0 is
	// 262,144, negative is no limit. Those beyond are Refused with a retry hint. A command counts until its last frame is
	// queued, which its caller may have a moment earlier: as many callers as this, each with one command after the other, are
	// refused now and then.
	MaxInFlightServer int
	// MaxConnections is how many connections may be open; 0 is 65,536. Those beyond are rejected.
	MaxConnections int
	// IdleWorkers is how many goroutines are kept for commands to come; 0 is 256, negative is none.
	IdleWorkers int
	// HandshakeBytes and HandshakeTimeout bound the handshake; 0 is 64 KiB and 5 s.
	HandshakeBytes   int
	HandshakeTimeout time.Duration
	// WriteTimeout is how long a client may take nothing of what is written before its connection
	// is given up; 0 is 30 s.
	WriteTimeout time.Duration
	// KeepaliveInterval is how long nothing may be received from a client before it gets a PING; 0 is 15 s,
	// negative is never. KeepaliveTimeout is how long nothing may come after that before its connection is
	// given up, and its commands are cancelled; 0 is 10 s. Clients ping the server as they are set
	// themselves, at most once in 10 ms.
	KeepaliveInterval, KeepaliveTimeout time.Duration
	// FrameTimeout is how long a frame or message that the client has begun may take, beside a second for each KiB
	// of it, before the connection is given up; 0 is 30 s.
	FrameTimeout time.Duration
	// AllowText lets clients call commands with lines of JSON, at the same addresses: docs/text.md. It needs the codec json.
	AllowText bool
}

func (c ClientConfig) applyToDial(s *dialSettings)     { s.config = c }
func (c ServerConfig) applyToServer(s *serverSettings) { s.config = c }

// dialSettings is what the options of Dial add up to.
type dialSettings struct {
	shared
	config       ClientConfig
	dial         func(ctx context.Context) (net.Conn, error)
	interceptors []ClientInterceptor
	monitor      *ClientMonitor // around all interceptors; nil if there is none, or it is one of them
	// tokenProvider is nil if the client has no token.
	tokenProvider TokenProvider
	insecureToken bool
	reconnect     *Reconnect // nil: there is one connection only
	observer      func(StateChange)
	identity      *Identity // not nil if there is resume
	// shapeDifferences are allowed in any case.
	shapeDifferences bool
}

// serverSettings is what the options of NewServer add up to.
type serverSettings struct {
	shared
	config       ServerConfig
	interceptors []ServerInterceptor
	monitor      *ServerMonitor // around all interceptors; nil if there is none, or it is one of them
	// authenticator is nil if everyone is let in.
	authenticator Authenticator
	latencies     bool
	reflection    bool
	remoteStats   bool
}

type shared struct {
	codecs       []codec.Codec
	compressions []Compression
	tls          *tls.Config
	logger       *slog.Logger
	budget       *Budget
	resume       *Resume // nil: connections end when they are lost
}

func defaultShared() shared { return shared{codecs: []codec.Codec{json.Codec}} }

type option func(*shared)

func (o option) applyToDial(s *dialSettings)     { o(&s.shared) }
func (o option) applyToServer(s *serverSettings) { o(&s.shared) }

type dialOption func(*dialSettings)

func (o dialOption) applyToDial(s *dialSettings) { o(s) }

type serverOption func(*serverSettings)

func (o serverOption) applyToServer(s *serverSettings) { o(s) }

// Codec turns values into bytes and back. See [codec.Codec].
type Codec = codec.Codec

// WithCodecs sets the codecs, on a client in order of preference: the server takes the first that
// it has too. They replace the default, which is JSON alone: name json.Codec among them to keep it.
func WithCodecs(codecs ...codec.Codec) Option {
	return option(func(s *shared) { s.codecs = codecs })
}

// Compression is an algorithm for WithCompression. See [core.Compression].
type Compression = core.Compression

// WithCompression lets connections compress large messages, if both sides have this option: the server
// takes the first of the client's algorithms that it has too, and without a common one nothing is
// compressed. They are s2.Compression, quick, and zstd.Compression, smaller and two to five times as slow, from
// the packages compression/s2 and compression/zstd. [Peer.Compression] tells what came of it.
//
// Commands, inputs and results are compressed one by one, if their encoding has 4 KiB at least (see
// ClientConfig.CompressionThreshold and ServerConfig.CompressionThreshold) and loses an eighth of its size
// at least. What can't be compressed so goes as it is; it has cost the attempt. Metadata is never
// compressed.
//
// It is worth it where the network is what is waited for, and the messages are text (JSON) or repeat
// themselves: between data centres, not between two processes of one machine. It costs processor time on
// both sides, in the goroutines that encode and decode, and memory for one inflated message per call.
//
// What MaxFrame allows is allowed before compression: a message must not be longer than that when it is
// inflated, which is checked before it is. But a client needs to send only a thousandth of it to make a
// server use that memory, so choose MaxFrame, MaxInFlight and MaxInFlightServer for what the server can
// hold.
//
// Compression tells something about what is encrypted: who can see how long messages are, and can choose a
// part of one, finds out by its length whether that part repeats something else in it (the attacks CRIME
// and BREACH). So don't compress messages in which secrets, such as tokens, stand beside what an attacker
// may choose: let them have a connection without compression, or put the secrets into metadata.
func WithCompression(algorithms ...Compression) Option {
	return option(func(s *shared) { s.compressions = algorithms })
}

// Budget bounds the memory that peers can make a process hold. See [core.Budget].
type Budget = core.Budget

// NewBudget returns a Budget of so many bytes, for WithBudget. It should be some times the MaxFrame of those
// that use it.
func NewBudget(bytes int64) *Budget { return core.NewBudget(bytes) }

// DefaultBudget is the Budget that clients and servers share which were given none: a quarter of the memory
// limit of the Go runtime (GOMEMLIMIT) if there is one, else 1 GiB.
func DefaultBudget() *Budget { return core.DefaultBudget() }

// WithBudget sets the Budget of a client, or of all connections of a server. Several may share one.
//
// When it is used up, commands that come are Refused with ResourceExhausted and a retry hint, Start and Send
// wait as long as their context allows, windows don't grow, and a result for which there is no room fails its
// call. What is running, and what is small, goes on.
func WithBudget(budget *Budget) Option {
	return option(func(s *shared) { s.budget = budget })
}

// window returns the window that a side tells the other one in the handshake, and how far it may grow.
func window(limit int) (first, most int) {
	if limit <= 0 {
		limit = core.DefaultMaxWindow
	}
	return min(limit, core.DefaultWindow), limit
}

// newAccount returns the account of a new connection; settleAccount gives it the limit that fits what the
// handshake has agreed on.
func (s *shared) newAccount() *core.Account { return s.theBudget().NewAccount(0) }

func (s *shared) theBudget() *Budget {
	if s.budget == nil {
		return DefaultBudget()
	}
	return s.budget
}

func settleAccount(account *core.Account, limit int64, agreement delegate.Agreement) {
	if limit <= 0 {
		limit = max(64<<20, 4*int64(max(agreement.MaxReceive, agreement.MaxSend)))
	}
	account.SetLimit(limit)
}

// WithTLS sets the configuration for tls:// addresses: on a server with a certificate, on a client
// with RootCAs if the system's don't do; with ClientAuth and Certificates for mutual TLS. TLS 1.2 is
// the least that is spoken.
func WithTLS(config *tls.Config) Option {
	return option(func(s *shared) { s.tls = config })
}

// WithLogger sets where a server reports what goes wrong on its side: panics with their stacks,
// failed handshakes, broken connections. A client reports to it only differences in the shapes of
// commands. The default is slog.Default().
func WithLogger(logger *slog.Logger) Option {
	return option(func(s *shared) { s.logger = logger })
}

// WithDialer makes Dial connect with dial instead of by the address, which is then only a name.
func WithDialer(dial func(ctx context.Context) (net.Conn, error)) DialOption {
	return dialOption(func(s *dialSettings) { s.dial = dial })
}

// WithClientInterceptors adds interceptors to a client, the first one outermost.
func WithClientInterceptors(interceptors ...ClientInterceptor) DialOption {
	return dialOption(func(s *dialSettings) { s.interceptors = append(s.interceptors, interceptors...) })
}

// WithServerInterceptors adds interceptors to a server, the first one outermost.
func WithServerInterceptors(interceptors ...ServerInterceptor) ServerOption {
	return serverOption(func(s *serverSettings) { s.interceptors = append(s.interceptors, interceptors...) })
}

// ServerInterceptor surrounds the execution of every command. See [handler.Interceptor].
type ServerInterceptor = handler.Interceptor

// ServerCall is a command as a ServerInterceptor sees it. See [handler.Call].
type ServerCall = handler.Call

func (s *shared) compressionNames() []string {
	var names []string
	for _, c := range s.compressions {
		names = append(names, c.Name())
	}
	return names
}

// compressor returns what compresses the messages of a connection, nil if it has not agreed to compress.
func (s *shared) compressor(agreement delegate.Agreement, threshold int) *core.Compressor {
	i := slices.IndexFunc(s.compressions, func(c Compression) bool { return c.Name() == agreement.Compression })
	if agreement.Compression == "" || i < 0 {
		return nil
	}
	switch {
	case threshold == 0:
		threshold = core.DefaultCompressionThreshold
	case threshold < 0:
		threshold = math.MaxInt
	}
	return &core.Compressor{
		Compression: s.compressions[i], Threshold: threshold,
		MaxReceive: agreement.MaxReceive, MaxSend: agreement.MaxSend,
	}
}
