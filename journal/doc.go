// Package journal remembers what became of commands, in a file, so that a server that was killed and started again
// executes none of them twice.
//
//	kept, err := journal.Open("/var/lib/bank/journal", journal.Config{})
//	server := edict.NewServer(bank, Commands, edict.WithResume(edict.Resume{Journal: kept}))
//
// Before a command is executed, that is written down; when it has ended, what its client is to get. A client that
// was cut off asks for that when it is back, whatever has happened to the server meanwhile: what had ended it gets from
// the journal, what was never begun is executed now, and of what was being executed nobody can know how far it
// came: it ends with OutcomeUnknown.
//
// Several servers of a process may share a Journal. Then a client finds at each of them what it has sent to another one. What
// one is executing right now, another one takes for cut off.
//
// # What it costs
//
// Each command waits for the disk twice, once before it is executed and once before its result is sent; commands that come
// at the same time share that. Config.NoSync leaves it to the system when to write: then the journal survives the
// end of the process, and may be damaged by that of the machine.
//
// # What it keeps
//
// Results are forgotten when their client says that it has them. Those of a client that never comes back are kept for
// Config.Keep, and so are those of commands that were sent a second time because nobody knew what became of the first: a
// server that was frozen may come to that late, but not later than that. All of them together take Config.MaxBytes at most:
// beyond, commands are Refused, with a retry hint. The file belongs to one process at a time.
//
// The file is a bbolt database (go.etcd.io/bbolt).
package journal
