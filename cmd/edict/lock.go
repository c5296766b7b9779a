package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/codec"
)

// lockHead is how a lock file begins.
const lockHead = "# The commands of this service and their shapes, by edict lock. Commit it: a change that breaks others shows.\n"

// change is one difference between a lock file and what there is now.
type change struct {
	Command string `json:"command"`
	// Kind is "added", "removed" or "changed"; Breaking is true of the latter two.
	Kind     string `json:"kind"`
	Breaking bool   `json:"breaking"`
	// Difference says what is different, Lines are those of the shape that have gone ("-") and come ("+").
	Difference string   `json:"difference,omitempty"`
	Lines      []string `json:"lines,omitempty"`
}

func (a *application) lockCommand() *cobra.Command {
	var file, variable string
	var update bool
	command := &cobra.Command{
		Use:   "lock SOURCE",
		Short: "Write commands.lock, and check that no command changes in a way that breaks others",
		Long: `lock compares the commands of a service with the file commands.lock, and writes that if there is none. SOURCE is the
address of a running server (with edict.WithReflection()), or a Go package as in ./commands, whose variable --var is
the registry; it must not be a program.

A command that is gone, or has another shape, breaks those who use it: lock tells the exact difference and ends with 5.
Commands that are new break nobody; lock tells them and ends with 0. --update writes the file anew, after which the
difference is to be seen where the file is reviewed.`,
		Example: `  edict lock ./commands
  edict lock ./commands --update
  edict lock 127.0.0.1:9000 --file shop.lock`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, arguments []string) error {
			return a.lock(command.Context(), arguments[0], file, variable, update)
		},
	}
	command.Flags().StringVarP(&file, "file", "f", "commands.lock", "the file")
	command.Flags().StringVar(&variable, "var", "Commands", "the package's variable with the registry")
	command.Flags().BoolVar(&update, "update", false, "write the file anew")
	return command
}

func (a *application) lock(ctx context.Context, source, file, variable string, update bool) error {
	if !token.IsIdentifier(variable) {
		return usagef("--var %s is no name of a variable", variable)
	}
	var commands []edict.CommandDescription
	if source == "." || strings.HasPrefix(source, "./") || strings.HasPrefix(source, "../") || !strings.Contains(source, ":") {
		var err error
		if commands, err = commandsOfPackage(ctx, source, variable); err != nil {
			return failed(exitOther, err)
		}
	} else {
		client, err := a.dialDynamic(ctx, source)
		if err != nil {
			return err
		}
		commands = client.Commands()
		_ = client.Close()
	}
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && update {
		if err := os.WriteFile(file, []byte(lockText(commands)), 0o644); err != nil {
			return failed(exitOther, err)
		}
		return failed(exitOther, a.tellLock(nil, fmt.Sprintf("%s has %d commands", file, len(commands)), ""))
	}
	if err != nil {
		return failed(exitOther, err)
	}
	locked, err := parseLock(string(content))
	if err != nil {
		return failed(exitOther, fmt.Errorf("%s: %w", file, err))
	}
	changes := compare(locked, commands)
	broken := slices.ContainsFunc(changes, func(c change) bool { return c.Breaking })
	note := fmt.Sprintf("%d commands are as %s has them", len(locked), file)
	if len(changes) > 0 {
		note = "to write " + file + " anew: edict lock --update " + source
	}
	if err := a.tellLock(changes, "", note); err != nil {
		return failed(exitOther, err)
	}
	if broken {
		return failed(exitLock, fmt.Errorf("commands have changed in a way that breaks those who use them, by %s", file))
	}
	return nil
}

// tellLock writes what has come of it.
func (a *application) tellLock(changes []change, written, note string) error {
	if a.asJSON {
		if changes == nil {
			changes = []change{}
		}
		return a.write(map[string]any{"changes": changes, "written": written != ""})
	}
	var text strings.Builder
	for _, c := range changes {
		fmt.Fprintf(&text, "%s %s", c.Kind, clean(c.Command))
		if c.Difference != "" {
			fmt.Fprintf(&text, ": %s", clean(c.Difference))
		}
		for _, line := range c.Lines {
			text.WriteString("\n    " + clean(line))
		}
		text.WriteString("\n")
	}
	if note+written != "" {
		text.WriteString(written + note + "\n")
	}
	_, err := fmt.Fprint(a.out, text.String())
	return err
}

// lockText returns what is to be in the file: a line for each command, and its shape below.
func lockText(commands []edict.CommandDescription) string {
	var text strings.Builder
	text.WriteString(lockHead)
	for _, command := range commands {
		fmt.Fprintf(&text, "\n%s %s\n", command.Name, command.Fingerprint)
		for _, line := range command.Shape {
			text.WriteString("\t" + line + "\n")
		}
	}
	return text.String()
}

// parseLock returns the shapes of commands by their names.
func parseLock(text string) (map[string]codec.Shape, error) {
	locked := map[string]codec.Shape{}
	fingerprints := map[string]string{}
	name := ""
	for number, line := range strings.Split(text, "\n") {
		switch {
		case strings.TrimSpace(line) == "", strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "\t"):
			if name == "" {
				return nil, fmt.Errorf("line %d: a shape without a command", number+1)
			}
			locked[name] = append(locked[name], strings.TrimSuffix(line[1:], "\r"))
		default:
			last := strings.LastIndexByte(line, ' ')
			if last <= 0 {
				return nil, fmt.Errorf("line %d: a command's name and fingerprint are wanted", number+1)
			}
			name = line[:last]
			if _, twice := fingerprints[name]; twice {
				return nil, fmt.Errorf("line %d: %s is there twice", number+1, name)
			}
			fingerprints[name] = strings.TrimSpace(line[last:])
		}
	}
	for name, fingerprint := range fingerprints {
		if len(locked[name]) == 0 || fmt.Sprintf("%016x", locked[name].Fingerprint()) != fingerprint {
			return nil, fmt.Errorf("the fingerprint of %s is not that of its shape: was the file edited?", name)
		}
	}
	return locked, nil
}

// compare returns the changes, in the order of names.
func compare(locked map[string]codec.Shape, commands []edict.CommandDescription) []change {
	var changes []change
	present := map[string]bool{}
	for _, command := range commands {
		present[command.Name] = true
		before, known := locked[command.Name]
		switch {
		case !known:
			changes = append(changes, change{Command: command.Name, Kind: "added"})
		case !slices.Equal(before, command.Shape):
			changes = append(changes, change{
				Command: command.Name, Kind: "changed", Breaking: true,
				Difference: command.Shape.Difference(before, "lock"), Lines: lineDifference(before, command.Shape),
			})
		}
	}
	for name := range locked {
		if !present[name] {
			changes = append(changes, change{Command: name, Kind: "removed", Breaking: true})
		}
	}
	slices.SortFunc(changes, func(a, b change) int { return strings.Compare(a.Command, b.Command) })
	return changes
}

// lineDifference returns the lines that are in one shape only, in the order of both, those that both have left out.
func lineDifference(before, after codec.Shape) []string {
	// The longest common row of lines, by its length for each pair of ends.
	common := make([][]int, len(before)+1)
	for i := range common {
		common[i] = make([]int, len(after)+1)
	}
	for i := len(before) - 1; i >= 0; i-- {
		for j := len(after) - 1; j >= 0; j-- {
			if before[i] == after[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var lines []string
	for i, j := 0, 0; i < len(before) || j < len(after); {
		switch {
		case i < len(before) && j < len(after) && before[i] == after[j]:
			i, j = i+1, j+1
		case j == len(after) || i < len(before) && common[i+1][j] >= common[i][j+1]:
			lines = append(lines, "- "+before[i])
			i++
		default:
			lines = append(lines, "+ "+after[j])
			j++
		}
	}
	return lines
}

// describer is a program that tells the commands of a package. It is compiled in the package's module.
const describer = `package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/edict-go/edict"
	target %q
)

func main() {
	if err := json.NewEncoder(os.Stdout).Encode(edict.Describe(target.%s)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
`

// commandsOfPackage returns the commands of a Go package, which it runs for that.
func commandsOfPackage(ctx context.Context, pattern, variable string) ([]edict.CommandDescription, error) {
	listed, err := goTool(ctx, "list", "-f", "{{.ImportPath}}\n{{.Dir}}\n{{.Name}}", "--", pattern)
	if err != nil {
		return nil, err
	}
	fields := strings.Split(strings.TrimSpace(string(listed)), "\n")
	if len(fields) != 3 {
		return nil, fmt.Errorf("%s is not one package", pattern)
	}
	importPath, folder, name := fields[0], fields[1], fields[2]
	if name == "main" {
		return nil, fmt.Errorf("%s is a program; the registry must be in a package that others can import", pattern)
	}
	temporary, err := os.MkdirTemp("", "edict-lock-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temporary)
	program := filepath.Join(temporary, "main.go")
	if err := os.WriteFile(program, fmt.Appendf(nil, describer, importPath, variable), 0o600); err != nil {
		return nil, err
	}
	// The program is in the package's module, as far as the go tool sees, where internal packages can be imported too; no
	// file is written there.
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(folder, "edictlock", "main.go"): program}})
	if err != nil {
		return nil, err
	}
	overlayFile := filepath.Join(temporary, "overlay.json")
	if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
		return nil, err
	}
	output, err := goTool(ctx, "run", "-overlay", overlayFile, importPath+"/edictlock")
	if err != nil {
		return nil, err
	}
	var commands []edict.CommandDescription
	if err := json.Unmarshal(output, &commands); err != nil {
		return nil, fmt.Errorf("can't read what %s tells: %w", importPath, err)
	}
	return commands, nil
}

// goTool runs the go tool and returns what it writes.
func goTool(ctx context.Context, arguments ...string) ([]byte, error) {
	command := exec.CommandContext(ctx, "go", arguments...)
	var output, problem bytes.Buffer
	command.Stdout, command.Stderr = &output, &problem
	if err := command.Run(); err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", arguments[0], err, bytes.TrimSpace(problem.Bytes()))
	}
	return output.Bytes(), nil
}
