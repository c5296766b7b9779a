package group

import (
	"slices"

	"github.com/edict-go/edict/core"
)

// view is what can be used at some time. It is constant, but for changed, which is closed when there is another.
type view[T any] struct {
	endpoints []*Endpoint
	members   [][]*member[T] // of each of endpoints; none is empty
	listed    []listing[T]   // all, whether they are ready or not
	changed   chan struct{}
	cause     error // why some connection is not ready, if one is not
}

// listing is an endpoint with all its connections.
type listing[T any] struct {
	*Endpoint
	members []*member[T]
	failure *core.Error // why there will be none soon; nil while one may come
}

// without returns what is left of v without the connections tried, and of the endpoints only the one with that
// address, if it is not empty. Endpoints without any of tried come before the other connections of those with
// one.
func (v *view[T]) without(tried []*member[T], only string) *view[T] {
	if len(tried) == 0 && only == "" {
		return v // nearly always
	}
	others, rest := &view[T]{}, &view[T]{}
	for i, e := range v.endpoints {
		if only != "" && e.address != only {
			continue
		}
		untried := slices.DeleteFunc(slices.Clone(v.members[i]), func(m *member[T]) bool { return slices.Contains(tried, m) })
		left := rest
		switch len(untried) {
		case 0:
			continue
		case len(v.members[i]):
			left = others
		}
		left.endpoints = append(left.endpoints, e)
		left.members = append(left.members, untried)
	}
	if len(others.endpoints) > 0 {
		return others
	}
	return rest
}

// with returns what is left of v of connections to servers with a journal.
func (v *view[T]) with(journal core.JournalID) *view[T] {
	left := &view[T]{}
	for i, e := range v.endpoints {
		knowing := slices.DeleteFunc(slices.Clone(v.members[i]), func(m *member[T]) bool { return m.journal() != journal })
		if len(knowing) > 0 {
			left.endpoints = append(left.endpoints, e)
			left.members = append(left.members, knowing)
		}
	}
	return left
}

// mayKnow reports whether an endpoint, none of whose connections that are ready has the journal wanted, may have one that
// does: as long as it is listed, and not all of its connections have been made again.
func (v *view[T]) mayKnow(e *Endpoint) bool {
	ready := 0
	if i := slices.Index(v.endpoints, e); i >= 0 {
		ready = len(v.members[i])
	}
	return slices.ContainsFunc(v.listed, func(l listing[T]) bool {
		return l.Endpoint == e && l.failure == nil && (ready == 0 || ready < len(l.members))
	})
}

// hopeless returns why no connection will be ready soon, and nil if one may: to the endpoint with that address, or if
// it is empty to any.
func (v *view[T]) hopeless(only string) *core.Error {
	var failure *core.Error
	found := only == ""
	for _, e := range v.listed {
		if only != "" && e.address != only {
			continue
		}
		found = true
		if e.failure == nil {
			return nil
		}
		failure = e.failure
	}
	if !found {
		return &core.Error{Code: core.Unavailable, Outcome: core.NotSent, Message: only + " is not one of the group's endpoints any more"}
	}
	if failure == nil {
		return nil // nothing is listed yet
	}
	copied := *failure
	return &copied
}

// letThrough reports whether there is an endpoint whose breaker is not open.
func (v *view[T]) letThrough() bool {
	return slices.ContainsFunc(v.endpoints, func(e *Endpoint) bool { return !e.open() })
}
