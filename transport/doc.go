// Package transport carries frames over a net.Conn.
//
// [Conn] is the one type to know: it implements core.Transport with a combining writer and a
// buffered reader. [Dial] and [Listen] turn addresses (tcp://, tls://, unix://) into connections
// and listeners; [Memory] is a listener without a network, for tests.
//
// # Writing
//
// Whoever queues a frame while no one is writing decides who takes the writing role. A caller that
// sends a command takes it itself: it yields once, so that every goroutine that is ready can queue its
// frame too, then writes all of them with one system call. It never blocks in that call: it tries
// without waiting, and if the socket is full, or if there is always more to write, it hands the role to
// a goroutine of the connection. So a caller is never held beyond its own context. For all other
// frames, results first of all, that goroutine writes from the start, because their sender has more to
// do. It ends when the queue is empty: an idle connection has no goroutine but its reader.
//
// Small frames go first. Bodies of core.LargeBody and more, and frames marked as Bulk, wait in lanes, one
// for each call, which take turns behind what is small; messages of more than 128 KiB go in parts. So a
// small frame waits for 128 KiB of others at most, and for what the socket holds.
//
// # Reading
//
// Receive returns frames whose body lies in the read buffer, valid until the next Receive. Bodies
// of core.LargeBody and more come in a buffer of their own. The read buffer is given back to a pool
// while the connection is idle (TCP and Unix sockets).
//
// # Bad input
//
// A length read from the wire never sizes an allocation before the bytes are there: buffers grow
// with what has arrived. A frame that is too long is skipped, not stored, and reported as Oversize.
package transport
