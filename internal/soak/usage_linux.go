package main

import (
	"fmt"
	"os"
)

// openFiles returns the number of open files, -1 if it can't be told.
func openFiles() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	return len(entries)
}

// residentMemory returns how many bytes of memory the process has, -1 if it can't be told.
func residentMemory() int64 {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return -1
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(statm), &size, &resident); err != nil {
		return -1
	}
	return resident * int64(os.Getpagesize())
}
