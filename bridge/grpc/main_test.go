package grpcbridge_test

import (
	"fmt"
	"io"
	"os"
	"testing"

	"google.golang.org/grpc/grpclog"

	"github.com/edict-go/edict/internal/leak"
)

func TestMain(m *testing.M) {
	grpclog.SetLoggerV2(failing{grpclog.NewLoggerV2(io.Discard, io.Discard, os.Stderr)})
	leak.Main(m)
}

// failing is a logger that makes a failed interop test fail the test that runs it, instead of the process.
type failing struct{ grpclog.LoggerV2 }

func (failing) Fatal(arguments ...any)                 { panic(fmt.Sprint(arguments...)) }
func (failing) Fatalln(arguments ...any)               { panic(fmt.Sprintln(arguments...)) }
func (failing) Fatalf(format string, arguments ...any) { panic(fmt.Sprintf(format, arguments...)) }
func (failing) Info(...any)                            {}
func (failing) Infof(string, ...any)                   {}
func (failing) Infoln(...any)                          {}
