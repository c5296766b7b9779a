package s2_test

import (
	"testing"

	"github.com/edict-go/edict/compression/compressiontest"
	"github.com/edict-go/edict/compression/s2"
)

func TestCompression(t *testing.T) {
	if name := s2.Compression.Name(); name != "s2" {
		t.Errorf("it is called %q", name)
	}
	compressiontest.Run(t, s2.Compression)
}

func FuzzDecode(f *testing.F) { compressiontest.Fuzz(f, s2.Compression) }
