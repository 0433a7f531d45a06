package s3

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"github.com/minio/minio-go/v7"
)

var (
	// errCondition is the answer to a put whose condition does not hold.
	errCondition = errors.New("the condition does not hold")

	// errTooLarge is a kind of fs.ErrNotExist, because the object is none of ours.
	errTooLarge = fmt.Errorf("s3: get: an object of more than 1 MiB: %w", fs.ErrNotExist)
)

// A refusal is an error in an answer of the store.
type refusal struct {
	op       string
	response minio.ErrorResponse
}

func (r *refusal) Error() string {
	// The answer comes from outside, and may be a whole page.
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, fmt.Sprintf("s3: %s: %.64s: %.200s", r.op, r.response.Code, r.response.Error()))
}

// Unwrap returns the error of the standard library that fits, or nil.
func (r *refusal) Unwrap() error {
	switch r.response.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fs.ErrPermission
	case http.StatusPreconditionFailed:
		return errCondition
	case http.StatusNotImplemented:
		return errors.ErrUnsupported
	}
	switch {
	case r.response.Code == minio.NoSuchKey && r.op == "get": // not if the bucket is missing
		return fs.ErrNotExist
	case r.response.Code == "ConditionalRequestConflict": // another machine is changing the object at this moment
		return errCondition
	}
	return nil
}

// temporary reports whether the same request may succeed later.
func (r *refusal) temporary() bool {
	status := r.response.StatusCode
	return status >= 500 || status == http.StatusRequestTimeout || status == http.StatusTooManyRequests || status == http.StatusConflict
}

// wrap returns the error of a request as callers see it. Ctx is that of [begin].
func wrap(ctx context.Context, op string, err error) error {
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, ctx.Err()) {
		err = cause
	}
	var response minio.ErrorResponse
	if errors.As(err, &response) {
		return &refusal{op, response}
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // without the long name of the object
	}
	return fmt.Errorf("s3: %s: %w", op, err)
}

// begin prepares a context for one request by minio-go. The caller calls done after it.
func begin(ctx context.Context) (_ context.Context, done func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	return context.WithValue(ctx, failKey{}, cancel), func() { cancel(nil) }
}

type failKey struct{}

// failFast is a transport that ends the context of a request that failed. Otherwise minio-go would pause after it, for up to 200
// ms, even if it must not try again.
type failFast struct{ http.RoundTripper }

func (f failFast) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := f.RoundTripper.RoundTrip(r)
	if cancel, ok := r.Context().Value(failKey{}).(context.CancelCauseFunc); ok && err != nil {
		cancel(err)
	}
	return response, err
}
