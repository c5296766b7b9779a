package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/codec/json"
	"github.com/edict-go/edict/codec/msgpack"
	"github.com/edict-go/edict/codec/protobuf"
	"github.com/edict-go/edict/dynamic"
)

// tokenVariable is the environment's variable for a token, which in a flag others on the machine could see.
const tokenVariable = "EDICT_TOKEN"

// connectionFlags say how to reach a server.
type connectionFlags struct {
	name                          string
	token, tokenFile              string
	insecureToken                 bool
	ca, certificate, key, tlsName string
	insecureTLS                   bool
}

func (f *connectionFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.name, "name", "edict", "what to call ourselves, for the server's logs")
	flags.StringVar(&f.token, "token", "", "the token to authenticate with; better in a file, or in $"+tokenVariable)
	flags.StringVar(&f.tokenFile, "token-file", "", "a file with the token")
	flags.BoolVar(&f.insecureToken, "insecure-token", false, "send the token over a network in the open, too")
	flags.StringVar(&f.ca, "tls-ca", "", "a file with certificates (PEM) of authorities to trust, instead of the system's")
	flags.StringVar(&f.certificate, "tls-cert", "", "a file with our own certificate (PEM), for mutual TLS")
	flags.StringVar(&f.key, "tls-key", "", "a file with the key of --tls-cert (PEM)")
	flags.StringVar(&f.tlsName, "tls-server-name", "", "the name that the server's certificate must have, if it is not the address's")
	flags.BoolVar(&f.insecureTLS, "tls-insecure", false, "don't look at the server's certificate: anyone in between can read along")
}

// addressOf returns an address as edict.Dial takes it.
func addressOf(text string) (string, error) {
	switch {
	case text == "":
		return "", usagef("the address is empty")
	case strings.Contains(text, "://"):
		return text, nil
	case strings.HasPrefix(text, "/"), strings.HasPrefix(text, "./"):
		return "unix://" + text, nil
	case !strings.Contains(text, ":"):
		return "", usagef("the address %q has no port: host:port is wanted, or tls://host:port, or unix:///path", text)
	}
	return "tcp://" + text, nil
}

// options returns the options of Dial.
func (f *connectionFlags) options() ([]edict.DialOption, error) {
	options := []edict.DialOption{
		edict.ClientConfig{Name: f.name, AllowShapeDifferences: true}, edict.WithLogger(slog.New(slog.DiscardHandler)),
	}
	token := f.token
	switch {
	case f.tokenFile != "" && f.token != "":
		return nil, usagef("--token and --token-file: one of them")
	case f.tokenFile != "":
		content, err := os.ReadFile(f.tokenFile)
		if err != nil {
			return nil, failed(exitUsage, fmt.Errorf("--token-file: %w", err))
		}
		token = strings.TrimSpace(string(content))
		if token == "" {
			return nil, usagef("--token-file: %s is empty", f.tokenFile)
		}
	case f.token == "":
		token = os.Getenv(tokenVariable)
	}
	if token != "" {
		options = append(options, edict.WithToken(token))
	}
	if f.insecureToken {
		options = append(options, edict.WithInsecureToken())
	}
	config, err := f.tls()
	if err != nil {
		return nil, failed(exitUsage, err)
	}
	return append(options, edict.WithTLS(config)), nil
}

func (f *connectionFlags) tls() (*tls.Config, error) {
	config := &tls.Config{ServerName: f.tlsName, InsecureSkipVerify: f.insecureTLS, MinVersion: tls.VersionTLS12}
	if f.ca != "" {
		content, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, fmt.Errorf("--tls-ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(content) {
			return nil, fmt.Errorf("--tls-ca: %s has no certificate", f.ca)
		}
	}
	if (f.certificate == "") != (f.key == "") {
		return nil, errors.New("--tls-cert and --tls-key: both are needed")
	}
	if f.certificate != "" {
		pair, err := tls.LoadX509KeyPair(f.certificate, f.key)
		if err != nil {
			return nil, fmt.Errorf("--tls-cert: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// dial connects without knowing any commands, with whatever codec the server has of those that any struct works with.
func (a *application) dial(ctx context.Context, address string) (*edict.Client[any], error) {
	address, options, err := a.target(address)
	if err != nil {
		return nil, err
	}
	options = append(options, edict.WithCodecs(json.Codec, msgpack.Codec, msgpack.Map, protobuf.Codec))
	ctx, cancel := a.within(ctx)
	defer cancel()
	client, err := edict.Dial(ctx, address, edict.Commands[any](), options...)
	return client, failed(exitConnect, err)
}

// dialDynamic connects to a server that tells its commands.
func (a *application) dialDynamic(ctx context.Context, address string) (*dynamic.Client, error) {
	address, options, err := a.target(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := a.within(ctx)
	defer cancel()
	client, err := dynamic.Dial(ctx, address, options...)
	return client, failed(exitConnect, err)
}

func (a *application) target(address string) (string, []edict.DialOption, error) {
	address, err := addressOf(address)
	if err != nil {
		return "", nil, err
	}
	options, err := a.connection.options()
	return address, options, err
}

// completeNames completes the name of a command by asking the server.
func (a *application) completeNames(command *cobra.Command, arguments []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(arguments) != 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	client, err := a.dialDynamic(command.Context(), arguments[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer client.Close()
	var names []string
	for _, description := range client.Commands() {
		if strings.HasPrefix(description.Name, begun) {
			names = append(names, description.Name+"\t"+description.Signature())
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
