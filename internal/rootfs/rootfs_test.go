package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// tree makes a folder root with the files "a" and "sub/b", and beside it the folder "outside" with the file "secret". The
// content of each file is its name.
func tree(t *testing.T) (root, outside string) {
	t.Helper()
	base := t.TempDir()
	root, outside = filepath.Join(base, "root"), filepath.Join(base, "outside")
	for _, name := range []string{filepath.Join(root, "a"), filepath.Join(root, "sub", "b"), filepath.Join(outside, "secret")} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(filepath.Base(name)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root, outside
}

// class says what an error of an FS means.
func class(err error) string {
	switch {
	case err == nil:
		return "no error"
	case errors.Is(err, fs.ErrInvalid) && errors.Is(err, fs.ErrNotExist):
		return "fs.ErrInvalid and fs.ErrNotExist"
	case errors.Is(err, fs.ErrInvalid):
		return "fs.ErrInvalid"
	case errors.Is(err, fs.ErrNotExist):
		return "fs.ErrNotExist"
	case errors.Is(err, ErrUnreachable):
		return "ErrUnreachable"
	case errors.Is(err, context.Canceled):
		return "context.Canceled"
	}
	return "another error"
}

func TestReach(t *testing.T) {
	root, outside := tree(t)
	const (
		found    = "no error"
		invalid  = "fs.ErrInvalid"
		notExist = "fs.ErrNotExist"
	)
	type want struct{ file, list string } // of Stat and Open, and of List
	tests := map[string]want{
		"a":                                 {found, invalid},
		"./a":                               {found, invalid},
		"sub":                               {invalid, found},
		"sub/b":                             {found, invalid},
		"sub//b":                            {found, invalid},
		"sub/../a":                          {found, invalid},
		"sub/":                              {invalid, found},
		".":                                 {invalid, found},
		"":                                  {invalid, invalid},
		"none":                              {notExist, notExist},
		"none/none":                         {notExist, notExist},
		"a/more":                            {notExist, notExist}, // ENOTDIR
		"a\x00":                             {invalid, invalid},
		"..":                                {invalid, invalid},
		"../outside":                        {invalid, invalid},
		"../outside/secret":                 {invalid, invalid},
		"sub/../../outside/secret":          {invalid, invalid},
		"../root/a":                         {invalid, invalid},
		strings.Repeat("n", 300):            {invalid, invalid}, // ENAMETOOLONG
		filepath.Join(root, "a"):            {found, invalid},
		filepath.Join(root, "sub"):          {invalid, found},
		root:                                {invalid, found},
		root + "/sub/../../outside/secret":  {invalid, invalid},
		filepath.Join(outside, "secret"):    {invalid, invalid},
		root + "-other":                     {invalid, invalid},
		filepath.Join(root, "none"):         {notExist, notExist},
		filepath.Dir(root):                  {invalid, invalid},
		filepath.VolumeName(root) + "/":     {invalid, invalid},
		filepath.VolumeName(root) + "/none": {invalid, invalid},
	}
	for _, link := range []struct {
		name, target string
		path         string
		want         want
	}{
		{"inside", "a", "inside", want{found, invalid}},
		{"sub/back", "../a", "sub/back", want{found, invalid}},
		{"folder", "sub", "folder", want{invalid, found}},
		{"folder-b", "sub", "folder-b/b", want{found, invalid}},
		{"out", "../outside", "out", want{invalid, invalid}},
		{"out-secret", "../outside", "out-secret/secret", want{invalid, invalid}},
		{"absolute", outside, "absolute/secret", want{invalid, invalid}},
		{"absolute-inside", filepath.Join(root, "a"), "absolute-inside", want{invalid, invalid}}, // os.Root refuses all absolute links
		{"loop", "loop", "loop", want{invalid, invalid}},
		{"dangling", "none", "dangling", want{notExist, notExist}},
	} {
		if err := os.Symlink(link.target, filepath.Join(root, link.name)); err != nil {
			t.Log("without symbolic links:", err)
			break
		}
		tests[link.path] = link.want
	}
	f := New(root)
	for path, want := range tests {
		_, statErr := f.Stat(path)
		file, info, openErr := f.Open(path)
		if file != nil {
			if content, err := io.ReadAll(file); err != nil || int64(len(content)) != info.Size() || string(content) == "secret" {
				t.Errorf("%.80q: %q, %v", path, content, err)
			}
			file.Close()
		}
		_, listErr := f.List(t.Context(), path, 100)
		for _, got := range []struct {
			call string
			err  error
			want string
		}{{"Stat", statErr, want.file}, {"Open", openErr, want.file}, {"List", listErr, want.list}} {
			ok := class(got.err) == got.want
			if runtime.GOOS == "windows" && got.want != found { // which has other names that are never valid
				ok = class(got.err) == invalid || class(got.err) == notExist
			}
			if !ok {
				t.Errorf("%s(%.80q): %v, want %s", got.call, path, got.err, got.want)
			}
			if got.err != nil && strings.Contains(got.err.Error(), filepath.Dir(root)) {
				t.Errorf("%s(%.80q): the error contains the host's path: %v", got.call, path, got.err)
			}
		}
	}
}

func TestStat(t *testing.T) {
	root, _ := tree(t)
	date := time.Unix(1e9, 0)
	if err := os.Chtimes(filepath.Join(root, "sub", "b"), date, date); err != nil {
		t.Fatal(err)
	}
	info, err := New(root).Stat("sub/b")
	if err != nil || info.Name() != "b" || info.Size() != 1 || !info.ModTime().Equal(date) {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestList(t *testing.T) {
	root, _ := tree(t)
	f := New(root)
	names, err := f.List(t.Context(), ".", 100)
	if slices.Sort(names); err != nil || !slices.Equal(names, []string{"a", "sub"}) {
		t.Errorf("%q, %v", names, err)
	}
	if err := os.Mkdir(filepath.Join(root, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	if names, err := f.List(t.Context(), "empty", 100); err != nil || len(names) > 0 {
		t.Errorf("an empty folder: %q, %v", names, err)
	}
	for i := range 2500 {
		if err := os.WriteFile(filepath.Join(root, "sub", fmt.Sprint(i)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct{ limit, least, most int }{{10_000, 2501, 2501}, {1500, 1500, 2500}, {1, 1, 1001}} {
		names, err := f.List(t.Context(), "sub", test.limit)
		if err != nil || len(names) < test.least || len(names) > test.most {
			t.Errorf("limit %d: %d names, %v", test.limit, len(names), err)
		}
	}
}

// The error of a canceled List is that of its context. It says nothing about the folder.
func TestListCanceled(t *testing.T) {
	root, _ := tree(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, path := range []string{".", "sub", filepath.Join(root, "sub")} {
		if _, err := New(root).List(ctx, path, 100); class(err) != "context.Canceled" {
			t.Errorf("%s: %v", path, err)
		}
	}
	ctx, cancel = context.WithTimeout(t.Context(), -1)
	defer cancel()
	if _, err := New(root).List(ctx, ".", 100); err != context.DeadlineExceeded {
		t.Errorf("after the deadline: %v", err)
	}
}

// A folder that is missing cannot be reached. Its files may exist all the same. It may come back.
func TestUnreachable(t *testing.T) {
	root, _ := tree(t)
	f := New(root)
	away := root + "-away"
	check := func(when, want string) {
		t.Helper()
		_, statErr := f.Stat("a")
		file, _, openErr := f.Open("a")
		if file != nil {
			file.Close()
		}
		_, listErr := f.List(t.Context(), "sub", 100)
		for _, err := range []error{statErr, openErr, listErr} {
			if class(err) != want || err != nil && strings.Contains(err.Error(), root) {
				t.Errorf("%s: %v, want %s", when, err, want)
			}
		}
	}
	check("at first", "no error")
	if err := os.Rename(root, away); err != nil {
		t.Fatal(err)
	}
	check("missing", "ErrUnreachable")
	if _, err := f.Stat("../outside/secret"); class(err) != "ErrUnreachable" {
		t.Errorf("outside of a missing root: %v", err)
	}
	if err := os.WriteFile(root, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	check("a file", "ErrUnreachable")
	if err := errors.Join(os.Remove(root), os.Rename(away, root)); err != nil {
		t.Fatal(err)
	}
	check("back", "no error")
}

// A relative root is that of the working directory when New is called.
func TestRelativeRoot(t *testing.T) {
	root, _ := tree(t)
	t.Chdir(filepath.Dir(root))
	f := New("root")
	t.Chdir(t.TempDir())
	if _, err := f.Stat("a"); err != nil {
		t.Error(err)
	}
}
