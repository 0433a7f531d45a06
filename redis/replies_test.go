package redis

import (
	"errors"
	"strings"
	"testing"
)

func TestReplies(t *testing.T) {
	for _, test := range []struct {
		sent string
		want error
	}{
		{"", nil},
		{"+OK\r\n-ERR x\r\n:5\r\n_\r\n#t\r\n,1.5\r\n(12\r\n", nil},
		{"$-1\r\n*-1\r\n$0\r\n\r\n*0\r\n%0\r\n", nil},
		{"$5\r\n$9\r\n\r\r\n*2\r\n=5\r\ntxt:a\r\n!3\r\nERR\r\n", nil}, // a string that looks like a length
		{"%2\r\n+a\r\n:1\r\n+b\r\n*2\r\n:1\r\n:2\r\n+next\r\n", nil},
		{"$1\r\nx\r\n>2\r\n+push\r\n~1\r\n:1\r\n:2\r\n", nil},
		{"$1048576\r\n" + strings.Repeat("x", 1<<20) + "\r\n:1\r\n", nil},
		{"*500\r\n" + strings.Repeat("$3\r\nabc\r\n", 500), nil},
		{"*3\r\n" + strings.Repeat("*1000\r\n"+strings.Repeat(":1\r\n", 1000), 3), nil},
		{strings.Repeat("*200000\r\n"+strings.Repeat(":1\r\n", 200000), 3), nil}, // one after the other

		{"$1048577\r\n", errTooLarge},
		{"$99999999999\r\n", errTooLarge},
		{"=99999999999\r\n", errTooLarge},
		{"!99999999999\r\n", errTooLarge},
		{"*2147483647\r\n", errTooLarge},
		{"%140000\r\n", errTooLarge},
		{">300000\r\n", errTooLarge},
		{strings.Repeat("*100000\r\n", 3), errTooLarge}, // nested
		{strings.Repeat("*1\r\n", 300000), errTooLarge},
		{"*200\r\n" + strings.Repeat("$1048576\r\n"+strings.Repeat("x", 1<<20)+"\r\n", 65), errTooLarge},
		{"+" + strings.Repeat("x", 1<<20), errTooLarge},
		{"-" + strings.Repeat("x", 1<<20) + "\r\n", errTooLarge},
		{"$99999999999999999999\r\n", errReply},
		{"$-2\r\n", errReply},
		{"|1\r\n+a\r\n:1\r\n:2\r\n", errReply},
		{"$\r\n", errReply},
		{"*x\r\n", errReply},
		{"$?\r\n", errReply},
		{"\r\n", errReply},
		{"+OK\n", errReply},
		{"HTTP/1.1 400 Bad Request\r\n", errReply},
		{"\x00\x00\r\n", errReply},
	} {
		for _, step := range []int{1, 7, 1 << 30} { // the same in one piece and in small ones
			if step == 1 && len(test.sent) > 4<<20 {
				continue
			}
			if err := scanSteps(test.sent, step); !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Errorf("%.40q in steps of %d: %v, want %v", test.sent, step, err, test.want)
			}
		}
	}
}

// scanSteps scans text in pieces.
func scanSteps(text string, step int) error {
	var r replies
	for len(text) > 0 {
		n := min(step, len(text))
		if err := r.scan([]byte(text[:n])); err != nil {
			return err
		}
		text = text[n:]
	}
	return nil
}

// FuzzReplies checks that the verdict does not depend on the pieces in which bytes arrive.
func FuzzReplies(f *testing.F) {
	for _, sent := range []string{"+OK\r\n", "$3\r\nabc\r\n", "*2\r\n$-1\r\n%1\r\n+a\r\n:1\r\n", "*2\r\n*1\r\n:1\r\n$2\r\n", "$1048577\r\n", "*300000\r\n"} {
		f.Add(sent, 3)
	}
	f.Fuzz(func(t *testing.T, sent string, step int) {
		if one, several := scanSteps(sent, 1<<30), scanSteps(sent, max(1, step)); one != several {
			t.Errorf("%v in one piece, %v in steps of %d", one, several, step)
		}
	})
}
