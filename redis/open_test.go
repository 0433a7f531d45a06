package redis_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/thumbcache/thumbcache/redis"
)

func TestOpen(t *testing.T) {
	for url, want := range map[string]string{ // a part of the error; "" means none
		"redis://localhost":                                       "",
		"redis://:p%40ss@localhost:6379/1":                        "",
		"rediss://user:secret@cache.example.org":                  "",
		"unix:///run/redis.sock?db=2":                             "",
		"redis://[::1]:6379":                                      "",
		"redis://a?prefix=covers:&ttl=72h&pool_size=5":            "",
		"redis://a?cluster=false":                                 "",
		"redis://a?cluster=true&addr=b:1&addr=c:2":                "",
		"redis://:secret@a:1/2?master_name=m&addr=b:1&password=x": "",

		"":                                       "scheme",
		"localhost:6379":                         "scheme",
		"http://:secret@localhost":               "scheme",
		"redis://a/b":                            "database",
		"redis://a/1/2":                          "path",
		"redis://a?db=x":                         "database",
		"redis://a?pool_size=0":                  "pool_size",
		"redis://a?pool_size=99999999999":        "pool_size",
		"redis://a?min_idle_conns=-5":            "min_idle_conns",
		"redis://a?max_retries=3":                "max_retries",
		"redis://a?read_only=true":               "read_only",
		"redis://a?cluster=yes":                  "cluster",
		"redis://a?addr=b:1":                     "addr",
		"redis://a?cluster=true&addr=b":          "addr",
		"redis://a?ttl=30":                       "ttl",
		"redis://a?ttl=3s":                       "TTL",
		"redis://a?prefix=%7B":                   "brace",
		"redis://a?dial_timeout=secret":          "dial_timeout",
		"redis://a?%zz":                          "malformed",
		"redis://:sec/ret@localhost":             "not escaped",
		"redis://:sec#ret@localhost":             "not escaped",
		"redis://:sec?ret@localhost":             "not escaped",
		"redis://user:1?secret@localhost":        "not escaped",
		"redis://user:1/secret@localhost":        "not escaped",
		"redis://user:1#secret@localhost":        "not escaped",
		"redis://:secret%zz@localhost":           "not escaped",
		"redis://:sec ret@localhost":             "not escaped",
		"redis://a:secret":                       "not escaped",
		"unix://:secret@":                        "socket",
		"unix://:secret@/s?cluster=true":         "scheme",
		"redis://a?master_name=m&password=sec@r": "not escaped",
	} {
		store, err := redis.Open(url)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", url, err)
		case want == "":
			store.Close()
		case !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), want):
			t.Errorf("%s: %v, want fs.ErrInvalid with %q", url, err, want)
		case strings.Contains(strings.ReplaceAll(err.Error(), "dial_timeout", ""), "secret") && !strings.Contains(url, "dial_timeout=secret"):
			t.Errorf("%s: the error contains a secret: %v", url, err)
		}
	}
}

// FuzzOpen checks that no URL makes Open panic, and that no password gets into an error.
func FuzzOpen(f *testing.F) {
	for _, rest := range []string{"", "/0", "/x", "?cluster=true", "?master_name=m", "?db=%", "?pool_size=7", "?addr=[::1]:6&cluster=true", "/x?y#z"} {
		f.Add("redis", "", "localhost", rest)
		f.Add("rediss", "/?#:%@ ", "localhost:6379", rest)
	}
	f.Fuzz(func(t *testing.T, scheme, around, host, rest string) {
		const secret = "Tr0ub4dor"
		if strings.Contains(scheme+around+host+rest, "Tr0ub4dor") {
			return
		}
		store, err := redis.Open(scheme + "://user:" + around + secret + around + "@" + host + rest)
		if err == nil {
			store.Close()
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("the error contains the password: %v", err)
		}
	})
}
