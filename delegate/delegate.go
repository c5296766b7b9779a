package delegate

import (
	"log/slog"
	"time"

	"github.com/edict-go/edict/auth"
	"github.com/edict-go/edict/codec"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/transport"
)

// The versions of the protocol that this package speaks. The preface and the frame that follows it
// have the same form in all versions.
const (
	MinVersion = 1
	MaxVersion = 1
)

// Defaults of the handshake's limits.
const (
	DefaultHandshakeBytes   = 64 << 10
	DefaultHandshakeTimeout = 5 * time.Second
	// DefaultMaxFrame is the largest payload of a frame that is accepted if nothing is set.
	DefaultMaxFrame = 4 << 20
)

// Defaults of the keepalive. See core.Keepalive.
const (
	DefaultKeepaliveInterval = 15 * time.Second
	DefaultKeepaliveTimeout  = 10 * time.Second
)

// The keepalive intervals that a server grants.
const (
	minKeepalive = 10 * time.Millisecond
	maxKeepalive = 24 * time.Hour
)

// minFrame is the least that a peer must accept, so that errors always fit.
const minFrame = 64 << 10

// maxWindow is the largest window that can be agreed on.
const maxWindow = 1<<31 - 1

// Config has the settings of one side's handshakes.
type Config struct {
	// Name is what this side calls itself. Not verified by anyone.
	Name string
	// Codecs are the names of the codecs, on the client in order of preference.
	Codecs []string
	// Compressions are the names of the compressions, on the client in order of preference. The server
	// chooses the first of them that it has too; without a common one the connection has none.
	Compressions []string
	// Commands are the commands of this side, on the client by their numbers.
	Commands []Command
	// MaxFrame is the largest payload of a frame that this side accepts, in bytes. 0 is 4 MiB; it is
	// 64 KiB at least.
	MaxFrame int
	// MaxInFlight is how many commands a connection may have in flight. 0 is 16,384. The server
	// tells it to the client; the client uses the smaller of both.
	MaxInFlight int
	// Window is how many bytes of results (on the server: of inputs) a stream may have under way at first. 0 is
	// 16 KiB.
	Window int
	// HandshakeBytes and HandshakeTimeout bound the handshake. 0 is 64 KiB and 5 s.
	HandshakeBytes   int
	HandshakeTimeout time.Duration
	// KeepaliveInterval is how long nothing may be received before this side sends a PING; 0 is 15 s,
	// negative is never. A client tells it to the server, which may grant a longer one.
	KeepaliveInterval time.Duration
	// KeepaliveTimeout is how long nothing may come after a PING before the connection is given up; 0 is
	// 10 s.
	KeepaliveTimeout time.Duration
	// AllowDifferences lets a client connect although commands have another shape on the server, if
	// the codec names the fields. Without it Connect fails.
	AllowDifferences bool
	// NamesFields reports whether a codec writes the names of fields. Client only.
	NamesFields func(codecName string) bool
	// Token is what a client authenticates itself with. Unless InsecureToken is set, Connect fails instead
	// of sending it where others could read it (see auth.IsPrivate). Client only.
	Token         auth.Token
	InsecureToken bool
	// Authenticator decides who a client is; nil lets in everyone. Server only.
	Authenticator auth.Authenticator
	// Resumes lets a client ask for a session that can be resumed; Resume, if not nil, is the one that it wants to
	// resume, and Received up to where it has received frames of that. Client only.
	Resumes  bool
	Resume   *Ticket
	Received core.Position
	// Sessions are the server's connections that can be resumed; nil if none can. Server only.
	Sessions *Sessions
	// Logger gets the stack of an authenticator that panics. nil is slog.Default(). Server only.
	Logger *slog.Logger
}

// Command is a command as the handshake knows it.
type Command struct {
	Name  string
	Shape codec.Shape
}

// WithDefaults returns c with its zero values replaced.
func (c Config) WithDefaults() Config {
	if c.MaxFrame <= 0 {
		c.MaxFrame = DefaultMaxFrame
	}
	c.MaxFrame = min(max(c.MaxFrame, minFrame), transport.NoLimit)
	if c.MaxInFlight <= 0 {
		c.MaxInFlight = core.DefaultMaxInFlight
	}
	c.MaxInFlight = min(c.MaxInFlight, core.MaxSlots)
	if c.Window <= 0 {
		c.Window = core.DefaultWindow
	}
	c.Window = min(c.Window, maxWindow)
	if c.HandshakeBytes <= 0 {
		c.HandshakeBytes = DefaultHandshakeBytes
	}
	if c.HandshakeTimeout <= 0 {
		c.HandshakeTimeout = DefaultHandshakeTimeout
	}
	if c.KeepaliveInterval == 0 {
		c.KeepaliveInterval = DefaultKeepaliveInterval
	}
	c.KeepaliveInterval = min(max(c.KeepaliveInterval, 0), maxKeepalive)
	if c.KeepaliveTimeout <= 0 {
		c.KeepaliveTimeout = DefaultKeepaliveTimeout
	}
	return c
}

// Agreement is what a handshake has settled.
type Agreement struct {
	Version     int
	Codec       string
	Compression string // empty if there is none
	PeerName    string
	// Principal is who the client is, nil if there is no authenticator. Server only.
	Principal   *core.Principal
	MaxInFlight int
	// MaxReceive and MaxSend are the largest payloads of frames that this side and the peer accept.
	MaxReceive, MaxSend int
	// Window is for results, InputWindow for inputs: how many bytes a call may have under way.
	Window, InputWindow int
	// KeepaliveInterval is how long this side may receive nothing before it sends a PING; 0 is for ever.
	KeepaliveInterval, KeepaliveTimeout time.Duration
	// RoundTripTime is how long the server has taken to answer HELLO. Client only.
	RoundTripTime time.Duration
	// Ticket lets the client resume the connection; nil if it can't. Client only.
	Ticket *Ticket
	// Resumed is true if the connection goes on with an earlier one, of which the server has received
	// PeerReceived: see transport.Conn.Attach. On the server that is done then. Lost is why, if it was asked for and is not.
	Resumed      bool
	PeerReceived core.Position
	Lost         string
	// Challenge is what a client must meet before it numbers commands, for the server's journal; zero if that has none.
	Challenge core.Challenge
	// Session is the session that a connection begins, if it can be resumed. Server only.
	Session *Session
	// Commands says for each number which of the commands in the server's Config it stands for, -1
	// for one that the server doesn't have. Server only.
	Commands []int
	// Names are the names that the client gave to the numbers. Server only.
	Names []string
	// Unusable has, by number, why a command can't be used on this connection: the server doesn't
	// know it, or has it in another shape. Client only.
	Unusable map[int]*core.Error
}

// magic begins every connection, in both directions. The newline would not survive a transport that
// changes line ends.
const magic = "EDICT\n"

// preface returns the first bytes of a connection: the magic and the range of versions.
func preface(minVersion, maxVersion byte) (p [transport.PrefaceSize]byte) {
	copy(p[:], magic)
	p[6], p[7] = minVersion, maxVersion
	return p
}
