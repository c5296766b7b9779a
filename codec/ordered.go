package codec

import (
	"context"

	"github.com/edict-go/edict/core"
)

// ordered is the executor of commands that name an ordering key. It implements core.OrderedExecutor.
type ordered[C any] struct {
	core.Executor // the same without the order
	command       Coder[C]
	key           func(*C) string
	execute       func(context.Context, C, core.Execution) error
}

// Prepare implements core.OrderedExecutor.
func (o *ordered[C]) Prepare(execution core.Execution) (string, func(context.Context) error, error) {
	command, err := o.command.Decode(execution.Command())
	if err != nil {
		return "", nil, undecodable(err)
	}
	return o.key(&command), func(ctx context.Context) error { return o.execute(ctx, command, execution) }, nil
}

// inOrder returns executor, whose commands of type C are executed by execute once they are decoded, as
// one that keeps the order of these commands if they are Ordered.
func inOrder[C any](executor core.Executor, command Coder[C], execute func(context.Context, C, core.Execution) error) core.Executor {
	key := orderingKey[C]()
	if key == nil {
		return executor
	}
	return &ordered[C]{executor, command, key, execute}
}

// orderingKey returns what asks a command for its ordering key; nil if commands of type C have none. C's
// method may have a pointer receiver although C is no pointer: an order that was wanted is kept.
func orderingKey[C any]() func(*C) string {
	if _, ok := any(new(C)).(core.Ordered); ok {
		return func(command *C) string { return any(command).(core.Ordered).OrderingKey() }
	}
	if _, ok := any(*new(C)).(core.Ordered); ok { // C is a pointer
		return func(command *C) string { return any(*command).(core.Ordered).OrderingKey() }
	}
	return nil
}
