package core

import (
	"encoding/binary"
	"maps"
	"slices"
	"strings"
)

// Limits on the metadata of one frame, so that what a peer can make us hold stays bounded.
const (
	MaxMetadataBytes   = 64 << 10 // encoded
	MaxMetadataEntries = 1024     // key and value pairs
)

// Metadata is what travels beside a command or its results: tracing context, tenant, version and
// the like. Keys are lower case; values are any bytes. The zero value is empty and readable; use
// make, a literal or Clone before setting.
type Metadata map[string][]string

// Get returns the first value of key, or "".
func (m Metadata) Get(key string) string {
	if values := m[strings.ToLower(key)]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// Set replaces the values of key.
func (m Metadata) Set(key string, values ...string) { m[strings.ToLower(key)] = values }

// Add adds a value to those of key.
func (m Metadata) Add(key, value string) {
	key = strings.ToLower(key)
	m[key] = append(m[key], value)
}

// Clone returns a copy that shares nothing with m; it is never nil.
func (m Metadata) Clone() Metadata {
	clone := make(Metadata, len(m))
	for key, values := range m {
		clone[key] = slices.Clone(values)
	}
	return clone
}

// AppendMetadata appends m's encoding to dst: for each key and value, in the order of the keys, a
// length-prefixed key and a length-prefixed value (uvarint lengths).
func AppendMetadata(dst []byte, m Metadata) ([]byte, error) {
	start, entries := len(dst), 0
	appendKey := func(key string, values []string) {
		for _, value := range values {
			dst = appendString(appendString(dst, strings.ToLower(key)), value)
			entries++
		}
	}
	if len(m) == 1 { // no order to find
		for key, values := range m {
			appendKey(key, values)
		}
	} else {
		for _, key := range slices.Sorted(maps.Keys(m)) {
			appendKey(key, m[key])
		}
	}
	if entries > MaxMetadataEntries || len(dst)-start > MaxMetadataBytes {
		return dst[:start], Errorf(ResourceExhausted, "metadata of %d entries and %d bytes; at most %d and %d are allowed",
			entries, len(dst)-start, MaxMetadataEntries, MaxMetadataBytes)
	}
	return dst, nil
}

// DecodeMetadata decodes what AppendMetadata encoded. The result does not refer to src.
func DecodeMetadata(src []byte) (Metadata, error) {
	if len(src) == 0 {
		return nil, nil
	}
	if len(src) > MaxMetadataBytes {
		return nil, Errorf(ResourceExhausted, "metadata of %d bytes; at most %d are allowed", len(src), MaxMetadataBytes)
	}
	m := Metadata{}
	for entries := 0; len(src) > 0; entries++ {
		if entries == MaxMetadataEntries {
			return nil, Errorf(ResourceExhausted, "metadata of more than %d entries", MaxMetadataEntries)
		}
		key, value, rest, ok := cutEntry(src)
		if !ok {
			return nil, Errorf(InvalidArgument, "metadata is malformed")
		}
		m[string(key)] = append(m[string(key)], string(value))
		src = rest
	}
	return m, nil
}

// CheckMetadata returns the error that DecodeMetadata would, without decoding anything.
func CheckMetadata(src []byte) error {
	if len(src) > MaxMetadataBytes {
		_, err := DecodeMetadata(src)
		return err
	}
	rest := src
	for entries := 0; len(rest) > 0; entries++ {
		var ok bool
		if _, _, rest, ok = cutEntry(rest); !ok || entries == MaxMetadataEntries {
			_, err := DecodeMetadata(src)
			return err
		}
	}
	return nil
}

// LookUpMetadata returns the first value of key, which is in lower case, in what AppendMetadata has encoded, or "".
func LookUpMetadata(encoded []byte, key string) string { return string(FindMetadata(encoded, key)) }

// FindMetadata is LookUpMetadata without a copy. It returns nil if there is no such key.
func FindMetadata(encoded []byte, key string) []byte {
	for len(encoded) > 0 {
		found, value, rest, ok := cutEntry(encoded)
		if !ok {
			break
		}
		if string(found) == key {
			return value
		}
		encoded = rest
	}
	return nil
}

// SetEncodedMetadata makes values the only ones of key in what AppendMetadata has encoded. It may append to encoded, and
// changes none of its bytes.
func SetEncodedMetadata(encoded []byte, key string, values ...string) []byte {
	key = strings.ToLower(key)
	for rest := encoded; len(rest) > 0; {
		found, _, after, ok := cutEntry(rest)
		if !ok {
			break
		}
		if string(found) == key {
			without := append([]byte(nil), encoded[:len(encoded)-len(rest)]...)
			return SetEncodedMetadata(append(without, after...), key, values...)
		}
		rest = after
	}
	for _, value := range values {
		encoded = appendString(appendString(encoded, key), value)
	}
	return encoded
}

// appendString appends a uvarint length and the bytes of s.
func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// cutEntry returns the first key and value of src; it reports whether it began with a whole one.
func cutEntry(src []byte) (key, value, rest []byte, ok bool) {
	if key, rest, ok = cutBytes(src); ok {
		value, rest, ok = cutBytes(rest)
	}
	return key, value, rest, ok
}

// cutString is the reverse of appendString; it reports whether src began with a whole string.
func cutString(src []byte) (s string, rest []byte, ok bool) {
	found, rest, ok := cutBytes(src)
	return string(found), rest, ok
}

// cutBytes is cutString without a copy.
func cutBytes(src []byte) (s, rest []byte, ok bool) {
	length, n := binary.Uvarint(src)
	if n <= 0 || length > uint64(len(src)-n) {
		return nil, src, false
	}
	src = src[n:]
	return src[:length], src[length:], true
}
