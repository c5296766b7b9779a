package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/edict-go/edict"
)

// information is what info tells.
type information struct {
	edict.ConnectionDetails
	// Commands is how many the server tells of; nil if it tells nothing.
	Commands *int `json:"commands"`
}

func (a *application) infoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "info ADDRESS",
		Short: "Tell what the handshake with a server agrees on",
		Long: `info connects to a server and tells what both sides have agreed on: the version of the protocol, the codec, limits,
TLS; how long the round trip is, and whether the server tells its commands.`,
		Example: `  edict info 127.0.0.1:9000
  edict info --json tls://shop.example:9000 --tls-ca ca.pem`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, arguments []string) error {
			client, err := a.dial(command.Context(), arguments[0])
			if err != nil {
				return err
			}
			defer client.Close()
			links := client.Stats().Links
			if len(links) == 0 {
				return failed(exitConnect, client.Err())
			}
			told := information{ConnectionDetails: links[0].ConnectionDetails}
			if took, err := a.pingOnce(command.Context(), client); err == nil {
				told.RoundTrip = took
			}
			if reflecting, err := a.dialDynamic(command.Context(), arguments[0]); err == nil {
				number := len(reflecting.Commands())
				told.Commands = &number
				_ = reflecting.Close()
			}
			if a.asJSON {
				return failed(exitOther, a.write(told))
			}
			return failed(exitOther, a.tell(told))
		},
	}
}

func (a *application) tell(i information) error {
	orNone := func(text string) string {
		if text == "" {
			return "none"
		}
		return text
	}
	commands := "not told (the server has no WithReflection, or no codec json)"
	if i.Commands != nil {
		commands = fmt.Sprint(*i.Commands)
	}
	table := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, row := range [][2]string{
		{"server", orNone(i.Name)},
		{"address", i.Address},
		{"protocol", fmt.Sprint("version ", i.Version)},
		{"tls", orNone(i.TLS)},
		{"codec", i.Codec},
		{"compression", orNone(i.Compression)},
		{"round trip", short(i.RoundTrip).String()},
		{"in flight", fmt.Sprintf("%d at most", i.MaxInFlight)},
		{"messages", fmt.Sprintf("%d bytes there, %d back", i.MaxSend, i.MaxReceive)},
		{"windows", fmt.Sprintf("%d bytes for results, %d for inputs, at first", i.Window, i.InputWindow)},
		{"keepalive", fmt.Sprintf("after %v", i.Keepalive)},
		{"commands", commands},
	} {
		fmt.Fprintf(table, "%s\t%s\n", row[0], clean(row[1]))
	}
	return table.Flush()
}

func (a *application) commandsCommand() *cobra.Command {
	var long bool
	command := &cobra.Command{
		Use:     "commands ADDRESS",
		Aliases: []string{"list"},
		Short:   "List a server's commands",
		Long: `commands lists what a server can execute, with the fields of commands, inputs (←) and results (→), as JSON has them.
A … is after what comes in any number, a ? after what may be null.`,
		Example: `  edict commands 127.0.0.1:9000
  edict commands --json 127.0.0.1:9000 | jq -r .name`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, arguments []string) error {
			client, err := a.dialDynamic(command.Context(), arguments[0])
			if err != nil {
				return err
			}
			defer client.Close()
			for _, description := range client.Commands() {
				if a.asJSON {
					err = a.write(description)
				} else {
					text := fmt.Sprintf("%-7s %s", clean(description.Kind), clean(description.Signature()))
					if long {
						text += "\n        " + clean(description.Fingerprint)
						for _, line := range description.Shape[1:] {
							text += "\n          " + clean(line)
						}
					}
					_, err = fmt.Fprintln(a.out, text)
				}
				if err != nil {
					return failed(exitOther, err)
				}
			}
			return nil
		},
	}
	command.Flags().BoolVarP(&long, "long", "l", false, "fingerprints and shapes too")
	return command
}
