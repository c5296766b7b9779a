package json_test

import (
	"bytes"
	"testing"

	"github.com/edict-go/edict/codec"
	"github.com/edict-go/edict/codec/json"
)

// A byte slice on its own is encoded and decoded as encoding/json does it.
func TestBytesOnTheirOwn(t *testing.T) {
	coder := codec.CoderFor[[]byte](json.Codec)
	for _, value := range [][]byte{nil, {}, {0}, []byte("abcd"), bytes.Repeat([]byte{0xfb, 0xff}, 1000)} {
		ours, err := coder.Append([]byte("before"), value)
		theirs, _ := json.Codec.Append([]byte("before"), value)
		if err != nil || !bytes.Equal(ours, theirs) {
			t.Errorf("%d bytes: %.40s, %v; encoding/json: %.40s", len(value), ours, err, theirs)
		}
	}
	for _, text := range []string{
		`""`, `"AA=="`, `null`, ` "AA==" `, `"\u0041A=="`, `"\/\/\/\/"`, `"//\r\n//"`,
		``, `"`, `"A"`, `"AA="`, `"AA==`, "\"//\n//\"", "\"//\r//\"", `"AA==""`, `"AA==" 1`, `[0]`, `[]`, `{}`, `"AB=="`, `"*"`, `1`,
	} {
		ours, ourErr := coder.Decode([]byte(text))
		var theirs []byte
		theirErr := json.Codec.Decode([]byte(text), &theirs)
		if (ourErr == nil) != (theirErr == nil) || ourErr == nil && (!bytes.Equal(ours, theirs) || (ours == nil) != (theirs == nil)) {
			t.Errorf("%q: %v, %v; encoding/json: %v, %v", text, ours, ourErr, theirs, theirErr)
		}
	}
}

func FuzzDecodeBytes(f *testing.F) {
	for _, text := range []string{`"AA=="`, `null`, `"\u0041A=="`, "\"//\n//\"", `[1,2]`} {
		f.Add([]byte(text))
	}
	coder := codec.CoderFor[[]byte](json.Codec)
	f.Fuzz(func(t *testing.T, src []byte) {
		ours, ourErr := coder.Decode(src)
		var theirs []byte
		theirErr := json.Codec.Decode(src, &theirs)
		if (ourErr == nil) != (theirErr == nil) || ourErr == nil && !bytes.Equal(ours, theirs) {
			t.Errorf("%q: %v, %v; encoding/json: %v, %v", src, ours, ourErr, theirs, theirErr)
		}
	})
}
