package journal_test

import (
	"testing"

	"github.com/edict-go/edict/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }
