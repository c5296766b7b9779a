package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/edict-go/edict/benchmarks/peer"
	"github.com/edict-go/edict/benchmarks/report"
)

// planned is one cell with the peers that take part in it.
type planned struct {
	load  workload
	cell  report.Cell
	peers []peer.Peer
}

// plan lists the cells to measure, and the peers that are left out of workloads because they lack
// something.
func (s settings) plan() ([]planned, []report.LeftOut, error) {
	var plan []planned
	var leftOut []report.LeftOut
	for _, load := range s.workloads {
		for _, encrypted := range s.tls {
			needs, where := load.needs, load.name
			if encrypted {
				needs, where = append(needs[:len(needs):len(needs)], peer.Encryption), where+" with TLS"
			}
			var able []peer.Peer
			for _, p := range s.peers {
				if missing, reason := p.Missing(needs); reason != "" {
					reason = fmt.Sprintf("no %s: %s", missing, reason)
					leftOut = append(leftOut, report.LeftOut{Peer: p.Name, Where: where, Reason: reason})
				} else {
					able = append(able, p)
				}
			}
			if len(able) == 0 {
				continue
			}
			for _, cell := range load.cells(s) {
				cell.Workload = load.name
				cell.TLS = encrypted
				cell.Separate = s.separate || load.alwaysSeparate
				plan = append(plan, planned{load, cell, able})
			}
		}
	}
	if len(plan) == 0 {
		return nil, nil, fmt.Errorf("nothing to measure: %v", leftOut)
	}
	return plan, leftOut, nil
}

// trials is how many measurements the plan comes to.
func (s settings) trials(plan []planned) int {
	trials := 0
	for _, p := range plan {
		trials += len(p.peers)
	}
	return trials * s.count
}

// betweenTrials is about what starting, stopping and collecting garbage take.
const betweenTrials = 300 * time.Millisecond

type estimate struct {
	trials int
	each   time.Duration
}

func (s settings) estimate(plan []planned) estimate {
	return estimate{s.trials(plan), s.warmup + s.duration + betweenTrials}
}

// execute measures the plan: round by round, cell by cell, and within a cell every peer in turn, so
// that peers that are compared were measured within seconds of each other. Each round begins with
// another peer. A peer that fails in a cell is left out there, and the run goes on.
func execute(ctx context.Context, s settings, plan []planned, p *progress) (report.Run, error) {
	defer p.finish()
	result := report.Run{Environment: s.environment()}
	for _, chosen := range s.peers {
		result.Peers = append(result.Peers, report.Peer{
			Name: chosen.Name, About: chosen.About, Version: chosen.Version(), Limit: chosen.Limit,
		})
	}
	certificate, err := peer.NewCertificate()
	if err != nil {
		return result, err
	}
	for round := range s.count {
		for _, at := range plan {
			for turn := range at.peers {
				chosen := at.peers[(turn+round)%len(at.peers)]
				p.begin(round+1, s.count, chosen.Name, at.cell)
				t := &trial{settings: s, peer: chosen, cell: at.cell}
				if at.cell.TLS {
					t.certificate = &certificate
				}
				figures, err := runTrial(ctx, at.load, t)
				if ctx.Err() != nil {
					return result, ctx.Err()
				}
				if err != nil {
					result.LeftOut = append(result.LeftOut, report.LeftOut{
						Peer: chosen.Name, Where: fmt.Sprintf("%v, round %d", at.cell, round+1), Reason: err.Error(),
					})
				}
				if figures != nil {
					result.Samples = append(result.Samples, report.Sample{
						Peer: chosen.Name, Cell: at.cell, Round: round, Figures: figures,
					})
				}
				p.end(figures[at.cell.Primary], at.cell.Primary, err)
			}
		}
	}
	if len(result.Samples) == 0 {
		return result, fmt.Errorf("every measurement failed: %v", result.LeftOut)
	}
	return result, nil
}

func (s settings) environment() report.Environment {
	return report.Environment{
		Command:    "go run ./benchmarks " + strings.Join(s.arguments, " "),
		Started:    time.Now().UTC().Truncate(time.Second),
		Go:         runtime.Version(),
		System:     runtime.GOOS + "/" + runtime.GOARCH + kernel(),
		Processor:  processor(),
		Processors: runtime.NumCPU(),
		GOMAXPROCS: runtime.GOMAXPROCS(0),
		Warmup:     s.warmup.String(),
		Duration:   s.duration.String(),
		Rounds:     s.count,
	}
}

func kernel() string {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return ""
	}
	return ", kernel " + strings.TrimSpace(string(release))
}

func processor() string {
	description, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(description)) {
		if name, found := strings.CutPrefix(line, "model name"); found {
			return strings.TrimLeft(strings.TrimSpace(name), ": \t")
		}
	}
	return "unknown"
}
