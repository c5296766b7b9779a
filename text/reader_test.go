package text

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// torn is a connection whose bytes come in pieces.
type torn struct {
	net.Conn
	rest   []byte
	pieces *rand.Rand
}

func (c *torn) Read(target []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(target[:min(len(target), 1+c.pieces.IntN(5000))], c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (*torn) SetReadDeadline(time.Time) error { return nil }

// However the bytes come, the lines are those that were sent; those that are too long or for which there is no room are skipped,
// and nothing is taken from the budget at the end.
func TestLinesAreThoseThatWereSent(t *testing.T) {
	long := strings.Repeat("x", 20_000)
	sent := []string{"a", "", "  b\t", "c\r", long, long + "y", strings.Repeat("z", 100_000), "d", long, "e"}
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		account := core.NewBudget(48 << 10).NewAccount(0)
		r := reader{
			conn:    &torn{rest: []byte(strings.Join(sent, "\n")), pieces: random},
			account: account, maxLine: 20_000, lineTimeout: time.Second,
		}
		var got []string
		for {
			line, problem, err := r.next()
			if err == io.EOF {
				break
			}
			switch {
			case err != nil:
				t.Fatal(err)
			case problem != nil:
				got = append(got, fmt.Sprint("! ", problem.Code))
			default:
				got = append(got, string(bytes.Clone(line)))
			}
			if used := account.Used(); used > 36<<10 {
				t.Fatalf("%d bytes are taken", used)
			}
		}
		r.release()
		want := []string{"a", "b", "c", long, "! resource exhausted", "! resource exhausted", "d", long, "e"}
		if strings.Join(got, "\n") != strings.Join(want, "\n") || account.Used() != 0 {
			t.Fatalf("seed %d: %.40q, %d bytes are taken", seed, got, account.Used())
		}
	}
}

// Without room in the budget long lines are skipped, and short ones come through.
func TestLinesWithoutRoom(t *testing.T) {
	account := core.NewBudget(4 << 10).NewAccount(0)
	r := reader{conn: &torn{rest: []byte("a\n" + strings.Repeat("x", 10_000) + "\nb"), pieces: rand.New(rand.NewPCG(1, 1))}, account: account, maxLine: 1 << 20}
	var got []string
	for {
		line, problem, err := r.next()
		if err != nil {
			break
		}
		if problem != nil {
			got = append(got, "! "+problem.Message)
		} else {
			got = append(got, string(line))
		}
	}
	if len(got) != 3 || got[0] != "a" || !strings.Contains(got[1], "no room") || got[2] != "b" {
		t.Errorf("%.100q", got)
	}
}

// An answer is one line of JSON whatever is in it.
func TestAnswersAreLines(t *testing.T) {
	metadata, err := core.AppendMetadata(nil, core.Metadata{"k": {"a\nb", "\xff"}})
	if err != nil {
		t.Fatal(err)
	}
	failure := &core.Error{Code: core.NotFound, Message: "a\nb\xff", Reason: "\n", Details: []core.Detail{{Type: "t", JSON: []byte("{\n")}}}
	for _, line := range [][]byte{
		appendResult(nil, []byte("1"), []byte("{\n\"a\":\n1}"), true, metadata), appendResult(nil, nil, nil, false, nil),
		appendResult(nil, nil, []byte("\n{"), false, nil), appendEnd(nil, []byte(`"x"`), metadata), appendError(nil, nil, failure, metadata),
		appendClosing(nil, failure),
	} {
		if bytes.Count(line, []byte("\n")) != 1 || !bytes.HasSuffix(line, []byte("\n")) {
			t.Errorf("%q", line)
		}
		if _, problem := parse(line); problem != nil && strings.Contains(problem.Message, "in JSON") {
			t.Errorf("%q: %v", line, problem)
		}
	}
}
