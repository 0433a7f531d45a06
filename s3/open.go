package s3

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"
)

// Open returns the Store that a URL describes. It does not connect to it; see [Store.Check].
//
//	s3://bucket/prefix?region=eu-central-1
//	s3://bucket/prefix?endpoint=https://minio.example.com:9000
//
// The prefix may be empty. Without an endpoint, the bucket is one of Amazon S3. Without a region, it is $AWS_REGION,
// $AWS_DEFAULT_REGION, or us-east-1.
//
// Credentials are not in the URL. They are found as the AWS tools find them: in $AWS_ACCESS_KEY_ID, $AWS_SECRET_ACCESS_KEY and
// $AWS_SESSION_TOKEN, in the profile $AWS_PROFILE of the files in ~/.aws, or from the service that gives a role to a container or a
// virtual machine.
//
// The error is [fs.ErrInvalid], and names what is wrong without repeating the URL.
func Open(rawURL string) (*Store, error) {
	t, err := parseURL(rawURL)
	if err != nil {
		return nil, fmt.Errorf("s3: %w: %w", err, fs.ErrInvalid)
	}
	transport, err := minio.DefaultTransport(t.secure)
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	transport.MaxIdleConnsPerHost = 64 // a busy server should not open a connection for each request
	client, err := minio.New(t.host, &minio.Options{
		Creds: credentials.NewChainCredentials([]credentials.Provider{
			&credentials.EnvAWS{},
			&credentials.FileAWSCredentials{},
			&credentials.IAM{Client: &http.Client{Timeout: 2 * time.Second}}, // fails soon where there is no such service
		}),
		Secure:       t.secure,
		Transport:    failFast{transport},
		Region:       t.region,
		BucketLookup: t.lookup,
		MaxRetries:   1,
	})
	if err != nil {
		return nil, fmt.Errorf("s3: the endpoint has no valid host: %w", fs.ErrInvalid) // err repeats it
	}
	return New(client, t.bucket, Options{Prefix: t.prefix}), nil
}

// A target is what a URL says.
type target struct {
	bucket, prefix string
	host           string // with port
	secure         bool
	region         string
	lookup         minio.BucketLookupType
}

// parseURL returns errors without any part of the URL, because it may contain a secret by mistake.
func parseURL(rawURL string) (*target, error) {
	u, err := url.Parse(rawURL)
	switch {
	case err != nil, u.Scheme != "s3", u.Opaque != "", u.Fragment != "", u.Port() != "":
		return nil, errors.New("the URL must have the form s3://bucket/prefix?endpoint=URL&region=NAME")
	case u.User != nil:
		return nil, errors.New("credentials must not be in the URL, but in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	case s3utils.CheckValidBucketNameStrict(u.Host) != nil:
		return nil, errors.New("the URL must begin with s3:// and a valid name of a bucket")
	}
	t := &target{bucket: u.Host, prefix: strings.Trim(u.Path, "/"), host: "s3.amazonaws.com", secure: true}
	if !validPrefix(t.prefix) {
		return nil, errors.New("the prefix must have no control characters, and no parts that are empty, . or .. alone")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("the query of the URL is not valid")
	}
	for name, values := range query {
		if name != "endpoint" && name != "region" || len(values) != 1 {
			return nil, errors.New("the query of the URL may have one endpoint and one region, and nothing else")
		}
	}
	if e := query.Get("endpoint"); e != "" {
		if err := t.setEndpoint(e); err != nil {
			return nil, err
		}
	}
	t.region = cmp.Or(query.Get("region"), os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"), "us-east-1")
	if strings.Trim(t.region, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
		return nil, errors.New("the region may contain letters, digits, - and _ only")
	}
	return t, nil
}

func (t *target) setEndpoint(endpoint string) error {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" ||
		u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("the endpoint must have the form http://host:port or https://host:port")
	}
	t.host, t.secure, t.lookup = u.Host, u.Scheme == "https", minio.BucketLookupPath
	return nil
}

func validPrefix(prefix string) bool {
	if prefix == "" {
		return true
	}
	for part := range strings.SplitSeq(prefix, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return len(prefix) <= 512 && !strings.ContainsFunc(prefix, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd })
}
