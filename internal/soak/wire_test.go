package main

import (
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// devices returns a device and what is behind it: each Read and Write is a packet.
func devices(t *testing.T) (device, far io.ReadWriteCloser) {
	near, end := net.Pipe() // without a buffer, so that packets stay apart
	t.Cleanup(func() { _ = end.Close() })
	return near, end
}

// weigh sends packets through a wire in some weather and returns those that arrive.
func weigh(t *testing.T, packets int, w weather) (arrived []int, counts wireCounts) {
	a, left := devices(t)
	b, right := devices(t)
	wire := newWire(a, b, 1)
	wire.set(w)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := range packets {
			fmt.Fprintf(left, "%d", i)
		}
	}()
	packet := make([]byte, 100)
	for {
		_ = right.(net.Conn).SetReadDeadline(time.Now().Add(time.Second)) // of the bubble's clock
		n, err := right.Read(packet)
		if err != nil {
			break // no more come
		}
		var number int
		if _, err := fmt.Sscan(string(packet[:n]), &number); err != nil {
			t.Fatal(err)
		}
		arrived = append(arrived, number)
	}
	<-sent
	wire.close()
	return arrived, wire.count()
}

func TestWire(t *testing.T) {
	const packets = 500
	isSorted := func(numbers []int) bool { return slices.IsSorted(numbers) }
	for name, test := range map[string]struct {
		weather
		check func(arrived []int, c wireCounts) bool
	}{
		"fair": {weather{}, func(arrived []int, c wireCounts) bool {
			return len(arrived) == packets && isSorted(arrived) && c == wireCounts{Carried: packets}
		}},
		"loss": {weather{Loss: 0.2}, func(arrived []int, c wireCounts) bool {
			return len(arrived) == int(c.Carried) && c.Carried+c.Lost == packets && c.Lost > packets/10 && c.Lost < packets/3 && isSorted(arrived)
		}},
		"doubled": {weather{Double: 0.2}, func(arrived []int, c wireCounts) bool {
			return c.Carried == packets && len(arrived) == packets+int(c.Doubled) && c.Doubled > packets/10 && c.Doubled < packets/3
		}},
		"late": {weather{Late: 0.1}, func(arrived []int, c wireCounts) bool {
			return len(arrived) == packets && c.Late > 0 && !isSorted(arrived)
		}},
		"partition": {weather{Partition: true}, func(arrived []int, c wireCounts) bool {
			return len(arrived) == 0 && c == wireCounts{Cut: packets}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if arrived, counts := weigh(t, packets, test.weather); !test.check(arrived, counts) {
					t.Errorf("%d packets of %d arrived, in order: %t; %+v", len(arrived), packets, isSorted(arrived), counts)
				}
			})
		})
	}
}

// Two namespaces that know nothing but the wire between them.
func TestNamespaces(t *testing.T) {
	d := &driver{}
	t.Cleanup(d.closeWire)
	if err := d.openWire(); err != nil {
		t.Skipf("namespaces and TUN devices can't be made here: %v", err)
	}
	var listener net.Listener
	err := d.spaces[1].do(func() (err error) {
		listener, err = net.Listen("tcp", farAddress+":7000")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	var client net.Conn
	err = d.spaces[0].do(func() (err error) {
		client, err = net.DialTimeout("tcp", farAddress+":7000", 10*time.Second)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = client.Write([]byte("over the wire"))
	_ = client.(*net.TCPConn).CloseWrite()
	text, err := io.ReadAll(server)
	_ = server.Close()
	if err != nil || string(text) != "over the wire" || d.wire.count().Carried == 0 {
		t.Errorf("got %q, %v; %+v", text, err, d.wire.count())
	}
}
