package auth_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// docs/auth.md quotes its code from the examples, so that it compiles and does what is said.
func TestThePageQuotesTheExamples(t *testing.T) {
	var sources []string
	for _, file := range []string{"example_test.go", "jwt/example_test.go", "../example_auth_test.go"} {
		sources = append(sources, readFile(t, file))
	}
	page := readFile(t, "../docs/auth.md")
	blocks := regexp.MustCompile("(?ms)^```go\n(.*?)^```$").FindAllStringSubmatch(page, -1)
	if len(blocks) < 8 {
		t.Errorf("docs/auth.md has only %d blocks of Go code", len(blocks))
	}
	for _, block := range blocks {
		if !slices.ContainsFunc(sources, func(source string) bool { return strings.Contains(source, "\n"+block[1]) }) {
			t.Errorf("docs/auth.md has code that is in no example:\n%s", block[1])
		}
	}
	for _, link := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(page, -1) {
		if _, err := os.Stat(filepath.Join("../docs", link[1])); err != nil {
			t.Errorf("docs/auth.md: %v", err)
		}
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
