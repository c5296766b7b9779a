// Package examples has one program in each of its folders, to read from top to bottom, to run and
// to copy from:
//
//   - calc is the first one to read: a server, a client, commands of both kinds, errors, deadlines,
//     all codecs and addresses.
package examples
