package s3

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/s3utils"
)

func TestParseURL(t *testing.T) {
	for _, test := range []struct {
		url  string
		want target // with the region us-east-1 if none is given
	}{
		{"s3://covers", target{bucket: "covers"}},
		{"s3://covers/", target{bucket: "covers"}},
		{"s3://covers/a/b/", target{bucket: "covers", prefix: "a/b"}},
		{"s3://covers/Ça%20va?region=eu-central-1", target{bucket: "covers", prefix: "Ça va", region: "eu-central-1"}},
		{"s3://my.covers.example", target{bucket: "my.covers.example"}},
		{"s3://covers?endpoint=http://127.0.0.1:7070", target{bucket: "covers", host: "127.0.0.1:7070", lookup: minio.BucketLookupPath}},
		{"s3://covers/p?endpoint=https%3A%2F%2Fminio.example.com%2F&region=here", target{
			bucket: "covers", prefix: "p", host: "minio.example.com", secure: true, region: "here", lookup: minio.BucketLookupPath,
		}},
		{"s3://covers?endpoint=http://[::1]:9000", target{bucket: "covers", host: "[::1]:9000", lookup: minio.BucketLookupPath}},
	} {
		setCredentials(t, "", "")
		if test.want.host == "" {
			test.want.host, test.want.secure = "s3.amazonaws.com", true
		}
		if test.want.region == "" {
			test.want.region = "us-east-1"
		}
		got, err := parseURL(test.url)
		if err != nil || *got != test.want {
			t.Errorf("%s: %+v, %v, want %+v", test.url, got, err, test.want)
		}
	}
}

func TestRegionOfEnvironment(t *testing.T) {
	setCredentials(t, "", "")
	for _, step := range []struct{ name, value, want string }{
		{"AWS_DEFAULT_REGION", "eu-west-3", "eu-west-3"},
		{"AWS_REGION", "eu-west-1", "eu-west-1"},
	} {
		t.Setenv(step.name, step.value)
		if got, err := parseURL("s3://covers"); err != nil || got.region != step.want {
			t.Errorf("with %s: %+v, %v", step.name, got, err)
		}
	}
	if got, err := parseURL("s3://covers?region=sa-east-1"); err != nil || got.region != "sa-east-1" {
		t.Errorf("the URL does not have precedence: %+v, %v", got, err)
	}
}

// TestOpenUnusable checks that the error says what is wrong, and does not repeat the URL, which may contain a secret by mistake.
func TestOpenUnusable(t *testing.T) {
	setCredentials(t, accessKey, secretKey)
	for url, want := range map[string]string{
		"":                          "s3://bucket/prefix",
		"Hushed":                    "s3://bucket/prefix",
		"redis://Hushed":            "s3://bucket/prefix",
		"s3:Hushed":                 "s3://bucket/prefix",
		"s3://AKIA:Hushed@covers/p": "AWS_SECRET_ACCESS_KEY",
		"s3://Hushed@covers/p":      "AWS_SECRET_ACCESS_KEY",
		"s3://AKIA:Hushed/covers":   "s3://bucket/prefix", // not a port
		"s3://covers:80/Hushed":     "s3://bucket/prefix",
		"s3://%53Hushed\x7f":        "s3://bucket/prefix",
		"s3://covers/p#Hushed":      "s3://bucket/prefix",
		"s3:///Hushed":              "bucket",
		"s3://Hushed/p":             "bucket", // upper case
		"s3://127.0.0.1/Hushed":     "bucket",
		"s3://co/Hushed":            "bucket",
		"s3://covers/Hushed//b":     "prefix",
		"s3://covers/../Hushed":     "prefix",
		"s3://covers/Hushed%0a":     "prefix",
		"s3://covers/" + strings.Repeat("Hushed", 100):        "prefix",
		"s3://covers?secret_access_key=Hushed":                "endpoint",
		"s3://covers?Hushed":                                  "endpoint",
		"s3://covers?region=a&region=Hushed":                  "endpoint",
		"s3://covers?region=%zzHushed":                        "query",
		"s3://covers?region=Hush/ed":                          "region",
		"s3://covers?endpoint=Hushed:9000":                    "endpoint",
		"s3://covers?endpoint=ftp://Hushed":                   "endpoint",
		"s3://covers?endpoint=http://":                        "endpoint",
		"s3://covers?endpoint=http://AKIA:Hushed@localhost":   "endpoint",
		"s3://covers?endpoint=http://localhost/Hushed":        "endpoint",
		"s3://covers?endpoint=http://localhost?Hushed":        "endpoint",
		"s3://covers?endpoint=http://local_Hushed_host%3A90a": "endpoint",
		"s3://covers?endpoint=http://Hush~ed":                 "endpoint",
	} {
		store, err := Open(url)
		switch {
		case err == nil:
			t.Errorf("%q: no error, but a store for %+v", url, store.client.EndpointURL())
		case !errors.Is(err, fs.ErrInvalid), !strings.Contains(err.Error(), want):
			t.Errorf("%q: the error is %v, want fs.ErrInvalid with %q", url, err, want)
		case strings.Contains(err.Error(), "Hush"), strings.Contains(err.Error(), "AKIA"):
			t.Errorf("%q: the error repeats it: %v", url, err)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	f.Add("s3://covers/p?endpoint=http://127.0.0.1:7070&region=us-east-1")
	f.Add("s3://AKIA:Hushed@covers/p")
	f.Add("s3://covers?endpoint=https://[::1%25Hushed]:9000")
	f.Fuzz(func(t *testing.T, url string) {
		got, err := parseURL(url)
		switch {
		case err != nil && strings.Contains(err.Error(), "Hushed"):
			t.Errorf("the error repeats the URL: %v", err)
		case err != nil:
		case s3utils.CheckValidBucketNameStrict(got.bucket) != nil, !validPrefix(got.prefix), got.host == "", got.region == "":
			t.Errorf("%q: %+v", url, got)
		}
	})
}
