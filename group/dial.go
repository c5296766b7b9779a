package group

import (
	"context"

	"github.com/edict-go/edict"
)

// Dial returns a group of clients, made with options, and waits until the first one is connected. It returns an
// error if ctx ends first, or if all endpoints have refused for good (no common codec, a command with another
// shape, no permission).
//
// The clients reconnect by themselves; edict.WithReconnect among options says how. Clients that do anything else
// about failures than to reconnect do it beneath the group: their interceptors see each attempt (AttemptOf). They have
// one edict.Identity, unless options have another one.
func Dial[T any](ctx context.Context, commands *edict.Registry[T], config Config, options ...edict.DialOption) (*Group[T], error) {
	g, err := New(Clients(commands, options...), config)
	if err != nil {
		return nil, err
	}
	if err := g.WaitReady(ctx); err != nil {
		_ = g.Close()
		return nil, err
	}
	return g, nil
}

// Clients returns the Connect of Dial, for New. One with options that depend on the address may call it, and should give
// all clients one Identity if they have edict.WithResume:
//
//	identity := edict.NewIdentity()
//	connect := func(address string) (group.Member[*Calc], error) {
//		return group.Clients(Commands, edict.WithTLS(configOf(address)), edict.WithIdentity(identity))(address)
//	}
func Clients[T any](commands *edict.Registry[T], options ...edict.DialOption) Connect[T] {
	options = append([]edict.DialOption{edict.WithIdentity(edict.NewIdentity())}, options...)
	return func(address string) (Member[T], error) {
		client, err := edict.NewClient(address, commands, options...)
		if err != nil {
			return nil, err
		}
		return client, nil
	}
}
