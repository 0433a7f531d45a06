package s3

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

const (
	accessKey = "an-access-key"
	secretKey = "a-secret-key"
	bucket    = "covers"
)

// setCredentials sets the credentials that Open finds.
func setCredentials(t testing.TB, access, secret string) {
	t.Setenv("HOME", t.TempDir()) // no ~/.aws
	for _, name := range []string{
		"AWS_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_REGION", "AWS_DEFAULT_REGION",
	} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_ACCESS_KEY_ID", access)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
	t.Setenv("AWS_SESSION_TOKEN", "")
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/") // instead of the network of a virtual machine
}

// budget returns a context such as a Cache gives to an engine.
func budget(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// openFake returns a Store whose server is a handler.
func openFake(t *testing.T, h http.HandlerFunc) *Store {
	t.Helper()
	setCredentials(t, accessKey, secretKey)
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	store, err := Open(fmt.Sprintf("s3://%s/p?endpoint=%s", bucket, server.URL))
	if err != nil {
		t.Fatal(err)
	}
	return store
}
