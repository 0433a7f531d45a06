package canonical

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestForms(t *testing.T) {
	for _, test := range []struct{ name, text, nfd, nfc string }{
		{"empty", "", "", ""},
		{"ASCII", "Cover.jpg", "Cover.jpg", "Cover.jpg"},
		{"one accent", "Beyonc\u00e9", "Beyonce\u0301", "Beyonc\u00e9"},
		{"umlaut, decomposed", "Bjo\u0308rk", "Bjo\u0308rk", "Bj\u00f6rk"},
		{"kana", "\u30c9", "\u30c8\u3099", "\u30c9"},
		{"Cyrillic", "\u0439\u0451", "\u0438\u0306\u0435\u0308", "\u0439\u0451"},
		{"Vietnamese, composed", "\u1ebf", "e\u0302\u0301", "\u1ebf"},
		{"Vietnamese, composed in part", "\u00ea\u0301", "e\u0302\u0301", "\u1ebf"},
		{"marks above and below", "q\u0307\u0323", "q\u0323\u0307", "q\u0323\u0307"},
		{"marks of the same class keep their order", "a\u0301\u0300", "a\u0301\u0300", "\u00e1\u0300"},
		{"a mark below does not block one above", "a\u0323\u0302", "a\u0323\u0302", "\u1ead"},
		{"a letter between blocks", "a\u200b\u0301", "a\u200b\u0301", "a\u200b\u0301"},
		{"a mark without a letter", "\u0301", "\u0301", "\u0301"},
		{"a mark that is two", "\u0344", "\u0308\u0301", "\u0308\u0301"},
		{"Hangul of two letters", "\uac00", "\u1100\u1161", "\uac00"},
		{"Hangul of three letters", "\ud55c", "\u1112\u1161\u11ab", "\ud55c"},
		{"Hangul syllable and final letter", "\uac00\u11a8", "\u1100\u1161\u11a8", "\uac01"},
		{"Hangul syllable that is complete", "\uac01\u11a8", "\u1100\u1161\u11a8\u11a8", "\uac01\u11a8"},
		{"last Hangul syllable", "\ud7a3", "\u1112\u1175\u11c2", "\ud7a3"},
		{"Angstrom sign", "\u212b", "A\u030a", "\u00c5"},
		{"Kelvin sign", "\u212a", "K", "K"},
		{"compatibility ideograph", "\uf900", "\u8c48", "\u8c48"},
		{"excluded from composition", "\u0958", "\u0915\u093c", "\u0915\u093c"},
		{"beyond the basic plane", "\U0001d15e", "\U0001d157\U0001d165", "\U0001d157\U0001d165"},
		{"two letters that compose", "\U00011131\U00011127", "\U00011131\U00011127", "\U0001112e"},
		{"compatibility only", "\ufb01\u00bd\uff21", "\ufb01\u00bd\uff21", "\ufb01\u00bd\uff21"},
		{"case is kept", "\u00c9\u00e9", "E\u0301e\u0301", "\u00c9\u00e9"},
		{"emoji", "\U0001f469\u200d\U0001f3a4", "\U0001f469\u200d\U0001f3a4", "\U0001f469\u200d\U0001f3a4"},
		{"replacement character", "\ufffde\u0301", "\ufffde\u0301", "\ufffd\u00e9"},
		{"invalid bytes", "\xff\u00e9\xc3", "\xffe\u0301\xc3", "\xff\u00e9\xc3"},
		{"an invalid byte takes no mark", "e\xe9\u0301", "e\xe9\u0301", "e\xe9\u0301"},
		{"an encoded surrogate", "\xed\xa0\x80\u00e9", "\xed\xa0\x80e\u0301", "\xed\xa0\x80\u00e9"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := Decompose(test.text); got != test.nfd {
				t.Errorf("Decompose(%+q) is %+q, want %+q", test.text, got, test.nfd)
			}
			if got := Compose(test.text); got != test.nfc {
				t.Errorf("Compose(%+q) is %+q, want %+q", test.text, got, test.nfc)
			}
			checkForms(t, test.text)
		})
	}
}

// A conversion must not add a separator or a dot to a file's name.
func TestSyntaxOfPathsIsKept(t *testing.T) {
	for _, m := range mappings {
		for _, text := range []string{Decompose(string(m.char)), Compose(string(m.char))} {
			if strings.ContainsAny(text, "/\\.:\x00") {
				t.Errorf("%U becomes %q", m.char, text)
			}
		}
	}
}

// reference reads texts, one a line, and prints NFD and NFC of each, or a line without a tab if it does not know all characters.
const reference = `
import sys, unicodedata
out = []
for text in sys.stdin.buffer.read().decode().split("\n"):
    if any(unicodedata.category(c) == "Cn" for c in text):
        out.append("?")
    else:
        out.append(unicodedata.normalize("NFD", text) + "\t" + unicodedata.normalize("NFC", text))
sys.stdout.buffer.write("\n".join(out).encode())
`

func TestAgainstPython(t *testing.T) {
	version, err := exec.Command("python3", "-c", "import unicodedata; print(unicodedata.unidata_version)").Output()
	if err != nil {
		t.Skip("no python3 to compare with:", err)
	}
	t.Logf("Unicode %s in Go, %s in Python", unicode.Version, strings.TrimSpace(string(version)))

	var texts []string
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if utf8.ValidRune(r) && r != '\n' && r != '\t' && !unicode.Is(unicode.Cn, r) && !unicode.Is(unicode.Co, r) {
			texts = append(texts, string(r))
		}
	}
	many := 10_000
	if os.Getenv("THUMBCACHE_FULL") != "" {
		many = 100_000
	}
	texts = append(texts, randomTexts(many)...)

	cmd := exec.Command("python3", "-c", reference)
	cmd.Stdin = strings.NewReader(strings.Join(texts, "\n"))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(out), "\n")
	if len(lines) != len(texts) {
		t.Fatalf("%d lines for %d texts", len(lines), len(texts))
	}
	compared := 0
	for i, text := range texts {
		nfd, nfc, ok := strings.Cut(lines[i], "\t")
		if !ok {
			continue
		}
		compared++
		if got := Decompose(text); got != nfd {
			t.Errorf("Decompose(%+q) is %+q, want %+q", text, got, nfd)
		}
		if got := Compose(text); got != nfc {
			t.Errorf("Compose(%+q) is %+q, want %+q", text, got, nfc)
		}
		if !Equal(text, nfd) || !Equal(text, nfc) {
			t.Errorf("%+q is not equal to %+q and %+q", text, nfd, nfc)
		}
		if t.Failed() {
			return
		}
	}
	if compared < len(texts)*9/10 {
		t.Errorf("only %d of %d texts were compared", compared, len(texts))
	}
}

// randomTexts returns texts of characters that change, or that are changed, in one of the forms.
func randomTexts(n int) []string {
	random := rand.New(rand.NewPCG(1, 2))
	hangul := []rune{hangulS, hangulS + 1, hangulS + numT, hangulL, hangulL + numL - 1, hangulV, hangulV + numV - 1, hangulT, hangulT + 1, hangulT + numT}
	pick := []func() rune{
		func() rune { return mappings[random.IntN(len(mappings))].char },
		func() rune { return mappings[random.IntN(len(mappings))].first },
		func() rune {
			if second := mappings[random.IntN(len(mappings))].second; second != 0 {
				return second
			}
			return 'x'
		},
		func() rune { return classes[random.IntN(len(classes))].low },
		func() rune { return rune(0x300 + random.IntN(0x70)) },
		func() rune { return hangul[random.IntN(len(hangul))] },
		func() rune { return rune(hangulS + random.IntN(numL*numV*numT)) },
		func() rune { return rune('A' + random.IntN(58)) },
	}
	texts := make([]string, n)
	for i := range texts {
		runes := make([]rune, 1+random.IntN(8))
		for j := range runes {
			runes[j] = pick[random.IntN(len(pick))]()
		}
		texts[i] = string(runes)
	}
	return texts
}

func FuzzEqual(f *testing.F) {
	texts := randomTexts(20)
	for i, text := range texts {
		f.Add(text, Compose(text))
		f.Add(text, texts[(i+1)%len(texts)])
	}
	f.Add("\uac00\u11a8", "\u1100\u1161\u11a8")
	f.Add("e\xe9", "e\u00e9")
	f.Fuzz(func(t *testing.T, a, b string) {
		if got, want := Equal(a, b), Decompose(a) == Decompose(b); got != want {
			t.Errorf("Equal(%+q, %+q) is %v", a, b, got)
		}
	})
}

func FuzzForms(f *testing.F) {
	for _, text := range append(randomTexts(20), "", "\xff\u00e9\xc3", "e\xe9\u0301", strings.Repeat("\u0301\u0323", 50)) {
		f.Add(text)
	}
	f.Fuzz(checkForms)
}

// checkForms checks what holds for the forms of every text.
func checkForms(t *testing.T, text string) {
	nfd, nfc := Decompose(text), Compose(text)
	other := text + "\u0301"
	for name, broken := range map[string]bool{
		"NFD of NFD is another text":   Decompose(nfd) != nfd,
		"NFC of NFC is another text":   Compose(nfc) != nfc,
		"NFD of NFC is not NFD":        Decompose(nfc) != nfd,
		"NFC of NFD is not NFC":        Compose(nfd) != nfc,
		"NFD is too long":              len(nfd) > 3*len(text),
		"NFC is too long":              len(nfc) > 3*len(text),
		"NFD changes invalid bytes":    !slices.Equal(invalidBytes(nfd), invalidBytes(text)),
		"NFC changes invalid bytes":    !slices.Equal(invalidBytes(nfc), invalidBytes(text)),
		"the text is not equal to NFD": !Equal(text, nfd),
		"NFC is not equal to NFD":      !Equal(nfc, nfd),
		"equal to a longer text":       Equal(text, other) || Equal(other, nfd) || Equal(text, text+"x"),
		"NFD changes a text of ASCII":  isASCII(text) && nfd != text,
		"NFC has more runes than NFD":  utf8.RuneCountInString(nfc) > utf8.RuneCountInString(nfd),
	} {
		if broken {
			t.Errorf("%+q: %s", text, name)
		}
	}
}

func invalidBytes(text string) (invalid []byte) {
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		if r == utf8.RuneError && size == 1 {
			invalid = append(invalid, text[0])
		}
		text = text[size:]
	}
	return invalid
}

func BenchmarkDecompose(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Decompose("03 - D\u00e9j\u00e0 Vu (feat. Jay-Z).flac")
	}
}

// BenchmarkEqual compares names that differ in their last letters.
func BenchmarkEqual(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Equal("03 - D\u00e9j\u00e0 Vu (feat. Jay-Z).flac", "03 - De\u0301ja\u0300 Vu (feat. Jay-Z).mp3")
	}
}
