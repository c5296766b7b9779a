package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// asProgram makes the test binary be the program itself.
const asProgram = "CALC_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// wantTour checks the output of a client's tour.
func wantTour(t *testing.T, output, codec string) {
	t.Helper()
	for _, pattern := range []string{
		`(?m)^Connected to (tcp|tls|unix)://\S+ with the codec ` + codec + `\.$`,
		`(?m)^Add\{2, 3\} +\S+s   5$`,
		`(?m)^Primes\{30\} +\S+s   \[2 3 5 7 11 13 17 19 23 29\]$`,
		`(?m)^Wait\{20ms\}, Add\{20, 30\} +\S+s   20ms and 50, both in flight at once$`,
		`(?m)^Divide\{7, 0\} +\S+s   error: can't divide by zero\n +code: invalid argument, outcome: executed$`,
		// The client's clock and the server's run out together: whichever is first says so.
		`(?m)^Wait\{1m\}, deadline 50ms +\S+s   error: context deadline exceeded\n +code: deadline exceeded, outcome: (unknown|executed)$`,
		`(?m)^Add x 20,000 +\S+s   [\d,]+ calls per second, by 200 goroutines on one connection$`,
	} {
		if !regexp.MustCompile(pattern).MatchString(output) {
			t.Errorf("nothing matches %s in:\n%s", pattern, output)
		}
	}
}

func TestEachCodecOverEachNetwork(t *testing.T) {
	for codec := range codecs {
		t.Run(codec, func(t *testing.T) {
			addresses := map[string]string{
				"tcp":  "tcp://127.0.0.1:0",
				"unix": "unix://" + filepath.Join(t.TempDir(), "calc.sock"),
			}
			if codec == "json" { // once will do: TLS is the same for all
				addresses["tls"] = "tls://127.0.0.1:0"
			}
			for network, address := range addresses {
				t.Run(network, func(t *testing.T) {
					var output bytes.Buffer
					if err := run(t.Context(), []string{"-codec", codec, "-addr", address}, &output); err != nil {
						t.Fatal(err)
					}
					wantTour(t, output.String(), codec)
					if !strings.HasSuffix(output.String(), "\nThe server has stopped.\n") {
						t.Errorf("the server did not stop:\n%s", output.String())
					}
				})
			}
		})
	}
}

// program returns a command that runs the program in a process of its own, until the test ends.
func program(t *testing.T, arguments ...string) *exec.Cmd {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	command := exec.CommandContext(ctx, executable, arguments...)
	command.Env = append(os.Environ(), asProgram+"=1")
	return command
}

func TestServerAndClientAsProcesses(t *testing.T) {
	for network, start := range map[string]func(t *testing.T) (address string, server, client []string){
		"tcp": func(*testing.T) (string, []string, []string) { return "tcp://127.0.0.1:0", nil, nil },
		"unix": func(t *testing.T) (string, []string, []string) {
			return "unix://" + filepath.Join(t.TempDir(), "calc.sock"), nil, nil
		},
		"tls": func(t *testing.T) (string, []string, []string) {
			certificate, key := writeCertificate(t)
			return "tls://127.0.0.1:0", []string{"-cert", certificate, "-key", key}, []string{"-ca", certificate}
		},
	} {
		t.Run(network, func(t *testing.T) {
			address, serverFlags, clientFlags := start(t)
			server := program(t, append([]string{"-serve", "-codec", "mus", "-addr", address}, serverFlags...)...)
			var problems bytes.Buffer
			server.Stderr = &problems
			stdout, err := server.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := server.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewReader(stdout)
			first, err := lines.ReadString('\n')
			if err != nil {
				t.Fatalf("the server said %q, then: %v; %s", first, err, &problems)
			}
			address, _, _ = strings.Cut(strings.TrimPrefix(first, "Serving at "), ". ")

			client := program(t, append([]string{"-connect", "-codec", "mus", "-addr", address}, clientFlags...)...)
			output, err := client.CombinedOutput()
			if err != nil {
				t.Fatalf("client: %v\n%s", err, output)
			}
			wantTour(t, string(output), "mus")

			// A client that speaks something else is told what is wrong.
			other := program(t, append([]string{"-connect", "-codec", "json", "-addr", address}, clientFlags...)...)
			output, err = other.CombinedOutput()
			if _, failed := errors.AsType[*exec.ExitError](err); !failed {
				t.Errorf("with another codec the client ended with %v", err)
			}
			if want := "no common codec: the client offers json, the server has mus"; !strings.Contains(string(output), want) {
				t.Errorf("%q is not in:\n%s", want, output)
			}

			if err := server.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			rest, err := io.ReadAll(lines)
			if err != nil {
				t.Fatal(err)
			}
			if err := server.Wait(); err != nil {
				t.Errorf("server: %v\n%s", err, &problems)
			}
			if !strings.HasSuffix(string(rest), "The server has stopped.\n") {
				t.Errorf("the server did not say that it stopped:\n%s", rest)
			}
		})
	}
}

func writeCertificate(t *testing.T) (certificateFile, keyFile string) {
	t.Helper()
	certificate, err := selfSigned()
	if err != nil {
		t.Fatal(err)
	}
	certificateFile, keyFile = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	if err := writePEM(certificate, certificateFile, keyFile); err != nil {
		t.Fatal(err)
	}
	return certificateFile, keyFile
}

func TestErrorsTellWhatToDo(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "tcp://" + closed.Addr().String()
	_ = closed.Close()
	for name, test := range map[string]struct {
		arguments []string
		want      []string
	}{
		"unknown codec":      {[]string{"-codec", "xml"}, []string{`unknown codec "xml"`, "json, msgpack, msgpack-map, mus, protobuf"}},
		"no scheme":          {[]string{"-addr", "127.0.0.1:9000"}, []string{"has no scheme: write tcp://127.0.0.1:9000"}},
		"unknown scheme":     {[]string{"-addr", "udp://127.0.0.1:9000"}, []string{"unknown scheme", "tcp://host:port"}},
		"both modes":         {[]string{"-serve", "-connect"}, []string{"choose one of -serve and -connect"}},
		"no port":            {[]string{"-connect"}, []string{"give -addr as the server printed it"}},
		"argument":           {[]string{"mus"}, []string{`unexpected argument "mus"`, "-help"}},
		"nobody there":       {[]string{"-connect", "-codec", "mus", "-addr", nobody}, []string{"connection refused", "go run ./examples/calc -serve -addr " + nobody + " -codec mus"}},
		"server without key": {[]string{"-serve", "-addr", "tls://127.0.0.1:0"}, []string{"-cert FILE and -key FILE", "openssl"}},
		"client without ca":  {[]string{"-connect", "-addr", "tls://127.0.0.1:9000"}, []string{"-ca FILE"}},
		"missing file":       {[]string{"-connect", "-addr", "tls://127.0.0.1:9000", "-ca", "no-such-file"}, []string{"no-such-file"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := run(t.Context(), test.arguments, io.Discard)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in: %v", want, err)
				}
			}
		})
	}
}

func TestHelp(t *testing.T) {
	var output bytes.Buffer
	if err := run(t.Context(), []string{"-help"}, &output); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(output.String(), "-codec") {
		t.Errorf("no flags in:\n%s", output.String())
	}
}

func TestReportsNumbersForPeople(t *testing.T) {
	for n, want := range map[int]string{7: "7", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) is %s, not %s", n, got, want)
		}
	}
	if got, want := rounded(1234567*time.Nanosecond), 1230*time.Microsecond; got != want {
		t.Errorf("rounded is %v, not %v", got, want)
	}
}
