package grpcbridge

import (
	"context"
	"fmt"
	"net"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"

	"github.com/edict-go/edict"
)

// Server has the services that generated Register...Server functions give it, and serves them over Edict: with
// a server of its own (Serve, ListenAndServe), or beside native commands (Commands). It is also what
// reflection.Register takes. Safe for concurrent use.
type Server struct {
	settings serverSettings
	messages messages      // of calls that ask for nothing else
	own      *edict.Server // for Serve and ListenAndServe

	mu       sync.Mutex // guards services; held while methods is replaced
	services map[string]*service
	methods  atomic.Pointer[methods]
}

// service is what was registered with one call of RegisterService.
type service struct {
	info grpc.ServiceInfo
}

// methods are the methods of all services. It is immutable.
type methods struct {
	byName map[string]*method
	byHash map[uint64]*method
}

// method is one method of a service.
type method struct {
	name    string // with its service, as in /echo.Echoer/Echo
	service any    // what the user has registered
	unary   *grpc.MethodDesc
	stream  *grpc.StreamDesc // nil for unary methods
}

// NewServer returns a server without services.
func NewServer(options ...ServerOption) *Server {
	s := &Server{settings: defaultServerSettings(), services: map[string]*service{}}
	for _, option := range options {
		option(&s.settings)
	}
	s.messages = messages{codec: defaultCodec(), maxReceive: s.settings.maxReceive, maxSend: s.settings.maxSend}
	s.methods.Store(&methods{byName: map[string]*method{}, byHash: map[uint64]*method{}})
	config := edict.ServerConfig{MaxFrame: s.settings.maxReceive + frameSlack}
	s.own = edict.NewServer(struct{}{}, edict.Commands(Commands[struct{}](s)...),
		append([]edict.ServerOption{config}, s.settings.edict...)...)
	return s
}

// frameSlack is what a message's frame may have beside the message.
const frameSlack = 128 << 10

// RegisterService implements grpc.ServiceRegistrar. It panics if the service is registered already, or if
// implementation is not of the kind that description wants. It may be called while the server serves.
func (s *Server) RegisterService(description *grpc.ServiceDesc, implementation any) {
	if implementation != nil {
		want := reflect.TypeOf(description.HandlerType).Elem()
		if got := reflect.TypeOf(implementation); !got.Implements(want) {
			panic(fmt.Sprintf("grpcbridge: the handler of service %s is a %v, which does not implement %v", description.ServiceName, got, want))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.services[description.ServiceName]; ok {
		panic(fmt.Sprintf("grpcbridge: the service %s is registered already", description.ServiceName))
	}
	added := &service{info: grpc.ServiceInfo{Metadata: description.Metadata}}
	known := s.methods.Load()
	all := &methods{byName: map[string]*method{}, byHash: map[uint64]*method{}}
	for _, m := range known.byName {
		all.add(m)
	}
	for i := range description.Methods {
		d := &description.Methods[i]
		all.add(&method{name: "/" + description.ServiceName + "/" + d.MethodName, service: implementation, unary: d})
		added.info.Methods = append(added.info.Methods, grpc.MethodInfo{Name: d.MethodName})
	}
	for i := range description.Streams {
		d := &description.Streams[i]
		all.add(&method{name: "/" + description.ServiceName + "/" + d.StreamName, service: implementation, stream: d})
		added.info.Methods = append(added.info.Methods, grpc.MethodInfo{
			Name: d.StreamName, IsClientStream: d.ClientStreams, IsServerStream: d.ServerStreams,
		})
	}
	s.services[description.ServiceName] = added
	s.methods.Store(all)
}

// add adds a method. If two names have the same hash, neither goes by it.
func (m *methods) add(added *method) {
	m.byName[added.name] = added
	hash := hashOf(added.name)
	if _, taken := m.byHash[hash]; taken {
		added = nil
	}
	m.byHash[hash] = added
}

// GetServiceInfo returns the services and their methods, as reflection wants to know them.
func (s *Server) GetServiceInfo() map[string]grpc.ServiceInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[string]grpc.ServiceInfo, len(s.services))
	for name, service := range s.services {
		all[name] = service.info
	}
	return all
}

// Listen listens at a tcp://, tls:// or unix:// address; see edict.Server.Listen. Give the listener to Serve.
func (s *Server) Listen(address string) (net.Listener, error) { return s.own.Listen(address) }

// ListenAndServe listens at a tcp://, tls:// or unix:// address and serves until Stop or GracefulStop. TLS is
// an option of Edict: see EdictOptions.
func (s *Server) ListenAndServe(address string) error {
	listener, err := s.own.Listen(address)
	if err != nil {
		return err
	}
	return s.Serve(listener)
}

// Serve serves Edict clients on a listener, which it closes at the end. Like that of grpc.Server it returns nil
// after Stop or GracefulStop. A server may serve several listeners.
func (s *Server) Serve(listener net.Listener) error {
	err := s.own.Serve(listener)
	if isClosed(err) {
		return nil
	}
	return err
}

// GracefulStop stops listening, refuses further calls, and waits until those that run have ended. It has no
// effect on a server that these methods are served on beside native commands: shut down that one.
func (s *Server) GracefulStop() { _ = s.own.Shutdown(context.Background()) }

// Shutdown is GracefulStop until ctx ends. Then it does what Stop does and returns ctx's error.
func (s *Server) Shutdown(ctx context.Context) error { return s.own.Shutdown(ctx) }

// Stop closes all listeners and connections at once; the contexts of running handlers end. It ends a
// GracefulStop that still waits.
func (s *Server) Stop() { _ = s.own.Close() }

// find returns the method that a request is for. Without one it returns an error.
func (s *Server) find(r *request) (*method, error) {
	all := s.methods.Load()
	if r.form&formName == 0 {
		if m := all.byHash[r.hash]; m != nil {
			return m, nil
		}
		return nil, &edict.Error{Code: edict.Unimplemented, Reason: nameWanted, Message: "unknown hash of a method's name"}
	}
	if m := all.byName[r.name]; m != nil {
		return m, nil
	}
	if s.settings.unknown != nil {
		return &method{name: r.name, stream: &grpc.StreamDesc{
			StreamName: "unknown_service_handler", Handler: s.settings.unknown, ServerStreams: true, ClientStreams: true,
		}}, nil
	}
	name, ok := strings.CutPrefix(r.name, "/")
	slash := strings.LastIndexByte(name, '/')
	if !ok || slash < 0 {
		return nil, edict.Errorf(edict.Unimplemented, "malformed method name: %q", r.name)
	}
	s.mu.Lock()
	_, known := s.services[name[:slash]]
	s.mu.Unlock()
	if !known {
		return nil, edict.Errorf(edict.Unimplemented, "unknown service %v", name[:slash])
	}
	return nil, edict.Errorf(edict.Unimplemented, "unknown method %v for service %v", name[slash+1:], name[:slash])
}
