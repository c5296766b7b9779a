// Package peers holds the systems under comparison, one file each. Importing it registers them all.
//
// A new peer is one more file: an init function that calls peer.Register with a Serve and a Dial.
// What a peer can't do belongs in Lacks, with the reason as a reader of the report should see it.
package peers
