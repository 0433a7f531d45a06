package main

import (
	"strings"
	"testing"

	"golang.org/x/mod/module"
)

// A go.mod that works only inside this repository is refused.
func TestCheck(t *testing.T) {
	m := module.Version{Path: root + "/redis", Version: "v0.1.0"}
	const head = "module " + root + "/redis\n\ngo 1.26.0\n\n"
	for name, test := range map[string]struct{ mod, want string }{
		"good":          {head + "require (\n\t" + root + " v0.1.0\n\texample.com/a v1.2.3\n)\n", ""},
		"replace":       {head + "replace " + root + " => ../\n", "replaces"},
		"other version": {head + "require " + root + " v0.0.9\n", "want version v0.1.0"},
		"other module":  {"module example.com/redis\n", "its go.mod says"},
		"broken":        {head + "requires", "unknown directive"},
	} {
		err := check([]byte(test.mod), m)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}
