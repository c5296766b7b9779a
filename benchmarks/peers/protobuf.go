package peers

import (
	"context"
	"time"

	"github.com/edict-go/edict/benchmarks/peer"
	"github.com/edict-go/edict/benchmarks/peers/echopb"
)

// toProto and fromProto are for every peer whose messages are echopb's.
func toProto(message peer.Message) *echopb.Message {
	return &echopb.Message{Flag: message.Flag, Number: message.Number, Text: message.Text, Ratio: message.Ratio}
}

func fromProto(message *echopb.Message) peer.Message {
	return peer.Message{
		Flag: message.GetFlag(), Number: message.GetNumber(), Text: message.GetText(), Ratio: message.GetRatio(),
	}
}

// protoEchoer holds the two methods that look alike in all generated services.
type protoEchoer struct{}

func (protoEchoer) Echo(_ context.Context, request *echopb.Message) (*echopb.Message, error) {
	return request, nil
}

func (protoEchoer) Delayed(_ context.Context, request *echopb.Message) (*echopb.Message, error) {
	time.Sleep(peer.Delay)
	return request, nil
}

// sendResults sends what a stream request asks for.
func sendResults(request *echopb.StreamRequest, send func(*echopb.Result) error) error {
	result := &echopb.Result{Body: peer.NewResult(int(request.GetSize()))}
	for range request.GetCount() {
		if err := send(result); err != nil {
			return err
		}
	}
	return nil
}
