package codectest

import (
	"math"
	"time"
)

// Order has a field of each kind that all codecs for Go types can carry.
type Order struct {
	Open     bool
	ID       int
	Small    int8
	Big      int64
	Port     uint16
	Mask     uint64
	Price    float64
	Rate     float32
	Customer string
	Photo    []byte
	Digest   [4]byte
	Items    []Item
	Tags     []string
	Stock    map[string]int
	Gift     *Item
	Placed   time.Time
	Timeout  time.Duration
	Kind     Kind
}

// Item is an element of Order.
type Item struct {
	Name  string
	Count int
}

// Kind is a defined type in Order.
type Kind uint8

// Orders are values to test with: empty, full, and at the limits.
func Orders() []Order {
	return []Order{
		{Placed: time.Unix(0, 0).UTC()},
		{
			Open: true, ID: -42, Small: -1, Big: 1 << 40, Port: 443, Mask: 1 << 63,
			Price: 12.5, Rate: 0.25, Customer: "Ada Löwe", Photo: []byte{0, 1, 2, 255},
			Digest: [4]byte{1, 2, 3, 250},
			Items:  []Item{{"pen", 3}, {"ink", 0}}, Tags: []string{"new", ""},
			Stock: map[string]int{"pen": 7, "ink": -1}, Gift: &Item{"card", 1},
			Placed:  time.Date(2031, 5, 6, 7, 8, 9, 931_135_488, time.UTC),
			Timeout: 90 * time.Second, Kind: 200,
		},
		{
			ID: math.MinInt, Small: math.MinInt8, Big: math.MaxInt64, Port: math.MaxUint16,
			Mask: math.MaxUint64, Price: math.MaxFloat64, Rate: math.SmallestNonzeroFloat32,
			Kind: math.MaxUint8, Placed: time.Date(1815, 12, 10, 0, 0, 0, 1, time.UTC),
			Timeout: math.MinInt64,
		},
	}
}

// Tree is a recursive type, to nest values with.
type Tree struct {
	Name     string
	Children []Tree
	Next     *Tree
}
