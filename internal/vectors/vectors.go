// Package vectors reads the test vectors of docs/protocol.md, so that tests can hold the document and
// the code to the same bytes.
package vectors

import (
	"encoding/hex"
	"fmt"
	"os"
	"strings"
)

// Parse returns the vectors of a document by their names. A vector is a fenced block that begins with
// "```hex name"; in it, what follows a # is a comment.
func Parse(path string) (map[string][]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	vectors := map[string][]byte{}
	name, digits := "", strings.Builder{}
	for number, line := range strings.Split(string(text), "\n") {
		switch {
		case name == "" && strings.HasPrefix(line, "```hex"):
			name = strings.TrimSpace(strings.TrimPrefix(line, "```hex"))
			if _, twice := vectors[name]; twice || name == "" {
				return nil, fmt.Errorf("%s:%d: a vector needs a name of its own, not %q", path, number+1, name)
			}
		case name != "" && line == "```":
			value, err := hex.DecodeString(digits.String())
			if err != nil {
				return nil, fmt.Errorf("%s:%d: vector %s: %w", path, number+1, name, err)
			}
			vectors[name] = value
			name = ""
			digits.Reset()
		case name != "":
			line, _, _ = strings.Cut(line, "#")
			digits.WriteString(strings.Join(strings.Fields(line), ""))
		}
	}
	if name != "" {
		return nil, fmt.Errorf("%s: vector %s does not end", path, name)
	}
	return vectors, nil
}
