package simulation

import (
	"slices"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/compression/s2"
	"github.com/edict-go/edict/compression/zstd"
)

// drawCompressions draws the compressions of one side.
func (s *simulation) drawCompressions() []edict.Compression {
	return pick(s, nil, []edict.Compression{s2.Compression}, []edict.Compression{zstd.Compression},
		[]edict.Compression{s2.Compression, zstd.Compression}, []edict.Compression{zstd.Compression, s2.Compression})
}

// drawThreshold draws the size from which one side compresses: what repeats in letters begins behind 251 bytes.
func (s *simulation) drawThreshold() int { return pick(s, 1, 300, 2000, 0, -1) }

// agreed returns the name of the compression that a client and the server should agree on: the first of the
// client's that the server has, too.
func (s *simulation) agreed(offered []edict.Compression) string {
	for _, compression := range offered {
		if slices.Contains(s.config.compressions, compression) {
			return compression.Name()
		}
	}
	return ""
}

// checkCompressed checks that nothing comes compressed where that was not agreed on.
func (s *simulation) checkCompressed(l *link, f *frame) {
	if !f.compressed() {
		return
	}
	if l.compression == "" {
		s.violated("a compressed %v on connection %d, whose sides have not agreed to compress", f.kind, l.number)
	}
	s.counted.compressed++
}

// checkCompression checks that both sides of a connection have agreed on the same one.
func (s *simulation) checkCompression(l *link) {
	if name := l.client.Peer().Compression; name != l.compression {
		s.violated("the client of connection %d has the compression %q, and should have %q", l.number, name, l.compression)
	}
	for _, c := range s.calls {
		if r := s.lab.runs[c.id]; c.link == l && r != nil && r.compression != l.compression {
			s.violated("the command of %v has the compression %q, and should have %q", c, r.compression, l.compression)
		}
	}
}
