package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"unsafe"
)

// namespace is a network namespace of its own. An OS thread is in it that does nothing else; with the
// thread, and with the processes that were started in it, the namespace goes.
type namespace struct {
	work chan func()
	done chan struct{}
}

// newNamespace makes a namespace. Only root may. The goroutine that it starts ends with close.
func newNamespace() (*namespace, error) {
	n := &namespace{work: make(chan func()), done: make(chan struct{})}
	entered := make(chan error)
	go func() {
		defer close(n.done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := os.NewSyscallError("unshare", syscall.Unshare(syscall.CLONE_NEWNET))
		entered <- err
		if err != nil {
			return
		}
		for work := range n.work {
			work()
		}
	}()
	if err := <-entered; err != nil {
		<-n.done
		return nil, err
	}
	return n, nil
}

// do runs f in the namespace: a socket or device that it opens is there, and a process that it starts.
func (n *namespace) do(f func() error) error {
	result := make(chan error)
	n.work <- func() { result <- f() }
	return <-result
}

// close ends the thread and waits for it.
func (n *namespace) close() {
	close(n.work)
	<-n.done
}

// The constants of linux/if_tun.h that package syscall lacks, and the size of struct ifreq.
const (
	tunSetInterface = 0x400454ca      // TUNSETIFF on every architecture that Go runs on but MIPS and PowerPC
	tunPlain        = 0x0001 | 0x1000 // IFF_TUN | IFF_NO_PI
	interfaceMTU    = 1400
)

// interfaceRequest is struct ifreq: a name and a union.
type interfaceRequest struct {
	name  [syscall.IFNAMSIZ]byte
	value [24]byte
}

func newRequest(name string) (r interfaceRequest) {
	copy(r.name[:syscall.IFNAMSIZ-1], name)
	return r
}

func (r *interfaceRequest) setUint16(value uint16) { *(*uint16)(unsafe.Pointer(&r.value)) = value }
func (r *interfaceRequest) setUint32(value uint32) { *(*uint32)(unsafe.Pointer(&r.value)) = value }

// setAddress makes the union a struct sockaddr_in.
func (r *interfaceRequest) setAddress(address net.IP) {
	r.setUint16(syscall.AF_INET)
	copy(r.value[4:8], address.To4())
}

func (r *interfaceRequest) do(fd int, operation string, number uintptr) error {
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), number, uintptr(unsafe.Pointer(r)))
	if errno != 0 {
		return os.NewSyscallError(operation, errno)
	}
	return nil
}

// openDevice makes a TUN device with an address in a network of 256 in the namespace, and brings it up.
func (n *namespace) openDevice(name, address string) (device io.ReadWriteCloser, err error) {
	err = n.do(func() error {
		device, err = openDevice(name, net.ParseIP(address))
		return err
	})
	return device, err
}

func openDevice(name string, address net.IP) (io.ReadWriteCloser, error) {
	fd, err := syscall.Open("/dev/net/tun", syscall.O_RDWR|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/net/tun", Err: err}
	}
	request := newRequest(name)
	request.setUint16(tunPlain)
	if err := request.do(fd, "TUNSETIFF", tunSetInterface); err != nil {
		_ = syscall.Close(fd)
		return nil, err
	}
	if err := configure(name, address); err != nil {
		_ = syscall.Close(fd)
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), "/dev/net/tun"), nil // not before it is a device: it could not be polled
}

// configure gives a device its address and brings it up, and the loopback device too.
func configure(name string, address net.IP) error {
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer func() { _ = syscall.Close(socket) }()
	own, mask, size := newRequest(name), newRequest(name), newRequest(name)
	own.setAddress(address)
	mask.setAddress(net.IPv4(255, 255, 255, 0))
	size.setUint32(interfaceMTU)
	up, loopbackUp := newRequest(name), newRequest("lo")
	up.setUint16(syscall.IFF_UP | syscall.IFF_RUNNING)
	loopbackUp.setUint16(syscall.IFF_UP | syscall.IFF_RUNNING)
	for _, step := range []struct {
		request   interfaceRequest
		operation string
		number    uintptr
	}{
		{own, "SIOCSIFADDR", syscall.SIOCSIFADDR},
		{mask, "SIOCSIFNETMASK", syscall.SIOCSIFNETMASK},
		{size, "SIOCSIFMTU", syscall.SIOCSIFMTU},
		{up, "SIOCSIFFLAGS", syscall.SIOCSIFFLAGS},
		{loopbackUp, "SIOCSIFFLAGS of lo", syscall.SIOCSIFFLAGS},
	} {
		if err := step.request.do(socket, step.operation, step.number); err != nil {
			return err
		}
	}
	return nil
}
