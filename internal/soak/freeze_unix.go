//go:build unix

package main

import "syscall"

// freeze stops a process where it is, and thaw lets it go on. An error means that it has ended.
func (p *process) freeze() { _ = p.cmd.Process.Signal(syscall.SIGSTOP) }

func (p *process) thaw() { _ = p.cmd.Process.Signal(syscall.SIGCONT) }

const canFreeze = true
