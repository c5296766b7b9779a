package group

import (
	"context"
	"fmt"
	"iter"
	"net"
	"slices"
	"time"

	"github.com/edict-go/edict/transport"
)

// Resolver tells a group where its servers are.
type Resolver interface {
	// Resolve returns the addresses, all of them each time that they change: those that are new are
	// connected to, those that are missing lose their connections when the calls there have ended. An
	// error is logged and changes nothing, nor does an empty list. The sequence may end; then the last list
	// holds. It must end when ctx does: the group waits for that. A group calls Resolve once.
	Resolve(ctx context.Context) iter.Seq2[[]string, error]
}

// ResolverFunc is a function that is a Resolver.
type ResolverFunc func(ctx context.Context) iter.Seq2[[]string, error]

// Resolve implements Resolver.
func (f ResolverFunc) Resolve(ctx context.Context) iter.Seq2[[]string, error] { return f(ctx) }

// Static returns a Resolver for addresses that don't change.
func Static(addresses ...string) Resolver {
	return ResolverFunc(func(context.Context) iter.Seq2[[]string, error] {
		return func(yield func([]string, error) bool) { yield(addresses, nil) }
	})
}

// DNS is a Resolver that looks up a host name's addresses again and again.
type DNS struct {
	// Address is tcp://host:port or tls://host:port. Each address of the host is an endpoint, with the same
	// scheme and port. For tls:// the name to be verified must be in the tls.Config (ServerName) that
	// edict.WithTLS gets, because the endpoints have none.
	Address string
	// Refresh is the time between two lookups; 0 is 30 s. After a lookup that failed it is a tenth of that.
	Refresh time.Duration
	// Lookup does the lookups; nil is net.DefaultResolver. Any *net.Resolver is one.
	Lookup interface {
		LookupHost(ctx context.Context, host string) ([]string, error)
	}
}

// Resolve implements Resolver.
func (d DNS) Resolve(ctx context.Context) iter.Seq2[[]string, error] {
	setDefault(&d.Refresh, 30*time.Second)
	if d.Lookup == nil {
		d.Lookup = net.DefaultResolver
	}
	return func(yield func([]string, error) bool) {
		var known []string
		for {
			addresses, err := d.lookup(ctx)
			wait := d.Refresh
			if err != nil {
				wait /= 10
			}
			if err != nil || !slices.Equal(addresses, known) {
				if !yield(addresses, err) {
					return
				}
			}
			if err == nil {
				known = addresses
			}
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return
			}
		}
	}
}

// lookup returns the addresses, in order, so that two lookups can be compared.
func (d DNS) lookup(ctx context.Context) ([]string, error) {
	scheme, rest, err := transport.SplitAddress(d.Address)
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(rest)
	if err != nil || scheme == "unix" {
		return nil, fmt.Errorf("address %q has no host and port to look up: use tcp://host:port or tls://host:port", d.Address)
	}
	hosts, err := d.Lookup.LookupHost(ctx, host)
	if err != nil {
		return nil, err
	}
	addresses := make([]string, len(hosts))
	for i, found := range hosts {
		addresses[i] = scheme + "://" + net.JoinHostPort(found, port)
	}
	slices.Sort(addresses)
	return addresses, nil
}
