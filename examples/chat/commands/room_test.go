package commands

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// texts are the lines that a member gets of a take.
func texts(t *testing.T, room *Room, m *member) []string {
	t.Helper()
	events, left := room.take(m)
	if left {
		t.Errorf("%s has left", m.name)
	}
	var lines []string
	for _, event := range events {
		lines = append(lines, event.String())
	}
	return lines
}

func TestAMemberThatDoesNotReadIsToldWhatItMissed(t *testing.T) {
	room := NewRoom()
	ada, err := room.join("ada")
	if err != nil {
		t.Fatal(err)
	}
	for n := range QueueSize + 10 { // the queue has Joined already
		room.say(ada, fmt.Sprint(n))
	}
	lines := texts(t, room, ada)
	if len(lines) != QueueSize+1 || lines[QueueSize-1] != "ada: 62" || lines[QueueSize] != "* you missed 11 lines" {
		t.Errorf("%q", lines)
	}
	room.say(ada, "again")
	if lines := texts(t, room, ada); len(lines) != 1 || lines[0] != "ada: again" {
		t.Errorf("%q", lines)
	}
}

func TestLinesAndNamesAreMadeSafe(t *testing.T) {
	room := NewRoom()
	ada, err := room.join("ada")
	if err != nil {
		t.Fatal(err)
	}
	texts(t, room, ada)
	room.say(ada, strings.Repeat("ö", MaxLine))
	if line := texts(t, room, ada)[0]; line != "ada: "+strings.Repeat("ö", MaxLine/2)+"..." {
		t.Errorf("%d bytes: %q", len(line), line)
	}
	room.say(ada, "x"+strings.Repeat("ö", MaxLine)) // the cut is within a letter
	if line := texts(t, room, ada)[0]; line != "ada: x"+strings.Repeat("ö", MaxLine/2-1)+"..." {
		t.Errorf("%d bytes: %q", len(line), line)
	}
	room.say(ada, "a\tb\x1b[2J\nc\u009b")
	if line := texts(t, room, ada)[0]; line != "ada: ab[2Jc" {
		t.Errorf("%q", line)
	}
	for _, name := range []string{"", "a b", "a\x1b", "a/b", strings.Repeat("a", MaxName+1)} {
		if _, err := room.join(name); !errors.Is(err, ErrBadName) {
			t.Errorf("%q joins: %v", name, err)
		}
	}
}
