//go:build darwin || linux || openbsd

package transport

import "golang.org/x/sys/unix"

// maxVectors is how many slices go into one system call, so that their list stays on the stack.
const maxVectors = 8

// writeParts writes as much of parts as the socket takes at once.
func writeParts(fd int, parts [][]byte) (int, error) {
	if len(parts) == 1 {
		return unix.Write(fd, parts[0])
	}
	return unix.Writev(fd, parts[:min(len(parts), maxVectors)])
}
