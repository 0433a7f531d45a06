package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/thumbcache/thumbcache"
)

// TestConditionsIgnored checks that there are no leases on a store that ignores or refuses conditions, and that the rest works.
func TestConditionsIgnored(t *testing.T) {
	for name, refuses := range map[string]func(r *http.Request) bool{
		"ignored":                func(*http.Request) bool { return false },
		"If-Match refused":       func(r *http.Request) bool { return r.Header.Get("If-Match") != "" },
		"If-None-Match refused":  func(r *http.Request) bool { return r.Header.Get("If-None-Match") != "" },
		"If-None-Match as usual": nil,
	} {
		t.Run(name, func(t *testing.T) {
			requests := 0
			store := openFake(t, func(w http.ResponseWriter, r *http.Request) {
				requests++
				w.Header().Set("ETag", `"0123456789abcdef"`)
				w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
				switch {
				case r.Method == http.MethodDelete:
					w.WriteHeader(http.StatusNoContent)
				case r.Method != http.MethodPut:
				case refuses == nil && r.Header.Get("If-None-Match") != "" && requests > 1:
					w.WriteHeader(http.StatusPreconditionFailed)
				case refuses != nil && refuses(r):
					w.WriteHeader(http.StatusNotImplemented)
				}
			})
			for range 2 {
				if _, err := store.Lease(t.Context(), strings.Repeat("0", 64), "300.jpg", time.Minute); !errors.Is(err, errors.ErrUnsupported) {
					t.Errorf("the error is %v, want errors.ErrUnsupported", err)
				}
			}
			if requests > 3 {
				t.Errorf("%d requests, want 3 at most, because the answer is remembered", requests)
			}
			if err := store.Put(t.Context(), strings.Repeat("0", 64), "300.jpg", []byte("value")); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestStrangeAnswers checks that answers which no object store gives are errors, but neither values nor statements about values.
// They must not contain what the answer contains without limit.
func TestStrangeAnswers(t *testing.T) {
	answers := map[string]http.HandlerFunc{
		"nothing":     func(http.ResponseWriter, *http.Request) {},
		"no content":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		"not allowed": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusMethodNotAllowed) },
		"redirect":    func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) },
		"a page":      func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>Please log in") },
		"no length": func(w http.ResponseWriter, _ *http.Request) {
			for range 100 {
				fmt.Fprint(w, strings.Repeat("page", 1000))
			}
		},
		"error": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, strings.Repeat("\x1b[31mlong\r\n", 5000))
		},
		"broken off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			w.Header().Set("ETag", `"e"`)
			w.Header().Set("Last-Modified", "Thu, 26 Nov 2026 10:00:00 GMT")
			io.WriteString(w, "half")
			panic(http.ErrAbortHandler)
		},
		"closed":      func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"unavailable": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"forbidden":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"no bucket": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, "<Error><Code>NoSuchBucket</Code></Error>")
		},
	}
	source := strings.Repeat("0", 64)
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			store := openFake(t, answer)
			for method, call := range map[string]func(context.Context) error{
				"Get":    func(ctx context.Context) error { _, err := store.Get(ctx, source, "300.jpg"); return err },
				"Put":    func(ctx context.Context) error { return store.Put(ctx, source, "300.jpg", []byte("value")) },
				"Remove": func(ctx context.Context) error { return store.Remove(ctx, source) },
				"Lease": func(ctx context.Context) error {
					_, err := store.Lease(ctx, source, "300.jpg", time.Minute)
					return err
				},
				"Check": store.Check,
				"Usage": func(ctx context.Context) error { _, _, err := store.Usage(ctx); return err },
			} {
				err := call(t.Context())
				switch {
				case err == nil:
					t.Errorf("%s: no error", method)
				case errors.Is(err, fs.ErrNotExist), errors.Is(err, thumbcache.ErrHeld):
					t.Errorf("%s: the error is %v, but the store has not said that", method, err)
				case len(err.Error()) > 600, strings.ContainsAny(err.Error(), "\x1b\r\n"):
					t.Errorf("%s: the error is long or has control characters: %q", method, err)
				}
			}
		})
	}
}

// TestNotFound checks an endpoint that answers 404 to everything, which only for Get is what an object store may say.
func TestNotFound(t *testing.T) {
	store := openFake(t, http.NotFound)
	source := strings.Repeat("0", 64)
	if err := store.Check(t.Context()); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("Check: the error is %v, want fs.ErrInvalid", err)
	}
	if err := store.Put(t.Context(), source, "300.jpg", []byte("value")); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Put: the error is %v", err)
	}
	_, err := store.Lease(t.Context(), source, "300.jpg", time.Minute)
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, thumbcache.ErrHeld) {
		t.Errorf("Lease: the error is %v", err)
	}
}

// TestClock checks that the error tells what to do if the clock of the machine is wrong.
func TestClock(t *testing.T) {
	store := openFake(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, "<Error><Code>RequestTimeTooSkewed</Code><Message>too large</Message></Error>")
	})
	if err := store.Check(t.Context()); !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), "the clock of this machine") {
		t.Errorf("the error is %v", err)
	}
}

// TestCredentials checks that credentials are found where the AWS tools find them.
func TestCredentials(t *testing.T) {
	var header http.Header
	answer := func(w http.ResponseWriter, r *http.Request) {
		header = r.Header
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	file := filepath.Join(t.TempDir(), "credentials")
	profiles := "[default]\naws_access_key_id = of-default\naws_secret_access_key = x\n" +
		"[media]\naws_access_key_id = of-media\naws_secret_access_key = x\n"
	if err := os.WriteFile(file, []byte(profiles), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, key, token string
		environment      []string // names and values
	}{
		{"environment", "of-environment", "", []string{"AWS_ACCESS_KEY_ID", "of-environment", "AWS_SECRET_ACCESS_KEY", "x"}},
		{"token", "of-environment", "a-token", []string{
			"AWS_ACCESS_KEY_ID", "of-environment", "AWS_SECRET_ACCESS_KEY", "x", "AWS_SESSION_TOKEN", "a-token",
		}},
		{"file", "of-default", "", []string{"AWS_SHARED_CREDENTIALS_FILE", file}},
		{"profile", "of-media", "", []string{"AWS_SHARED_CREDENTIALS_FILE", file, "AWS_PROFILE", "media"}},
		{"environment before file", "of-environment", "", []string{
			"AWS_SHARED_CREDENTIALS_FILE", file, "AWS_ACCESS_KEY_ID", "of-environment", "AWS_SECRET_ACCESS_KEY", "x",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			store := openFake(t, answer)
			setCredentials(t, "", "")
			for pair := range slices.Chunk(test.environment, 2) {
				t.Setenv(pair[0], pair[1])
			}
			store.Get(t.Context(), strings.Repeat("0", 64), "300.jpg")
			authorization, token := header.Get("Authorization"), header.Get("X-Amz-Security-Token")
			if !strings.Contains(authorization, "Credential="+test.key+"/") || token != test.token {
				t.Errorf("%s, token %q, want the key %s and the token %q", authorization, token, test.key, test.token)
			}
		})
	}
}

// TestAmazon checks which address a bucket of Amazon S3 has. It connects to nothing.
func TestAmazon(t *testing.T) {
	setCredentials(t, accessKey, secretKey)
	for url, want := range map[string]string{
		"s3://covers?region=eu-central-1":          "https://covers.s3.dualstack.eu-central-1.amazonaws.com/",
		"s3://covers":                              "https://covers.s3.dualstack.us-east-1.amazonaws.com/",
		"s3://covers.example.com?region=eu-west-1": "https://s3.dualstack.eu-west-1.amazonaws.com/covers.example.com/", // no certificate has two dots
	} {
		store, err := Open(url)
		if err != nil {
			t.Fatal(err)
		}
		signed, err := store.client.PresignedGetObject(t.Context(), store.bucket, "o", time.Minute, nil)
		if err != nil || !strings.HasPrefix(signed.String(), want) {
			t.Errorf("%s: %v, %v, want %s", url, signed, err, want)
		}
	}
}
