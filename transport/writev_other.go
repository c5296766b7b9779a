//go:build unix && !(darwin || linux || openbsd)

package transport

import "syscall"

// writeParts writes some of the first part.
func writeParts(fd int, parts [][]byte) (int, error) { return syscall.Write(fd, parts[0]) }
