package grpcbridge

import "maps"

// WithoutContextKeys lets a server make contexts as it must if gRPC's keys are not known.
func WithoutContextKeys() ServerOption { return func(s *serverSettings) { s.keysKnown = false } }

// KeysKnown reports whether they are.
func KeysKnown() bool { return keysKnown }

// Collide makes two names of methods have the same hash, that of both.
func (s *Server) Collide(a, b string) {
	all := s.methods.Load()
	changed := &methods{byName: all.byName, byHash: maps.Clone(all.byHash)}
	changed.byHash[hashOf(a)], changed.byHash[hashOf(b)] = nil, nil
	s.methods.Store(changed)
}
