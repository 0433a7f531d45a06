package s3

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/minio/minio-go/v7"
)

// readme is the name of an object that explains the bucket. It also serves to find out what the store can do. Nothing depends on
// its content.
const readme = "README.thumbcache"

const readmeText = `This prefix contains thumbnails that servers with thumbcache share. Each object is
a picture with a trailer. It is safe to remove any of them: missing thumbnails are
made again. The format is described at
https://github.com/thumbcache/thumbcache/blob/main/docs/format.md
`

// Check reports whether the store can be used. It writes the README, reads it, lists it, and removes an object that does not
// exist. Call it at the start of a program, with a timeout of some seconds.
//
// The error is [fs.ErrInvalid] if a setting is wrong: the bucket, region or endpoint, or the credentials and their permissions,
// which are [fs.ErrPermission] too. Any other error means that the store does not answer as it should now, but perhaps will later.
// No error contains a secret.
func (s *Store) Check(ctx context.Context) error {
	for _, step := range []struct {
		permission string
		try        func(context.Context) error
	}{
		{"s3:PutObject", s.checkPut},
		{"s3:GetObject", s.checkGet},
		{"s3:ListBucket", s.checkList},
		{"s3:DeleteObject", s.checkDelete},
	} {
		err := step.try(ctx)
		r, refused := errors.AsType[*refusal](err)
		switch {
		case err == nil:
			continue
		case refused && errors.Is(err, fs.ErrPermission):
			return fmt.Errorf("%w: %w (%s)", err, fs.ErrInvalid, s.advice(r, step.permission))
		case refused && !r.temporary():
			return fmt.Errorf("%w: %w (bucket %q at %s)", err, fs.ErrInvalid, s.bucket, s.client.EndpointURL().Host)
		default:
			return err
		}
	}
	return nil
}

func (s *Store) checkPut(ctx context.Context) error {
	err := s.tryConditions(ctx)
	if errors.Is(err, errors.ErrUnsupported) {
		_, err = s.put(ctx, s.prefix+readme, []byte(readmeText), always)
	}
	return err
}

func (s *Store) checkGet(ctx context.Context) error {
	_, err := s.get(ctx, s.prefix+readme)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it has expired since it was written
	}
	return err
}

func (s *Store) checkList(ctx context.Context) error {
	for _, err := range s.list(ctx, s.prefix+readme) {
		return err
	}
	return nil
}

func (s *Store) checkDelete(ctx context.Context) error {
	return s.removeOne(ctx, s.prefix+"-check")
}

// advice returns what to do when the store refuses permission.
func (s *Store) advice(r *refusal, permission string) string {
	if r.response.Code == minio.RequestTimeTooSkewed {
		return "check the clock of this machine"
	}
	if v, err := s.client.GetCreds(); err == nil && v.AccessKeyID == "" {
		return "no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
	}
	return "check the credentials; they need the permission " + permission
}

// conditionTests are conditions for the README that do not hold, except that the README may not exist yet.
var conditionTests = []condition{absent, absent, "00000000000000000000000000000000"}

// ignored is a state of Store.conditions.
const ignored = -1

var errIgnored = fmt.Errorf("s3: the store ignores If-Match or If-None-Match, so it has no leases: %w", errors.ErrUnsupported)

// tryConditions finds out whether the store respects conditions of puts, and remembers it. The error is errors.ErrUnsupported if
// it does not. If there is not enough time for all tests, the next call goes on.
func (s *Store) tryConditions(ctx context.Context) error {
	passed := s.conditions.Load()
	if passed == ignored {
		return errIgnored
	}
	for i, c := range conditionTests[passed:] {
		_, err := s.put(ctx, s.prefix+readme, []byte(readmeText), c)
		first := int(passed)+i == 0
		switch {
		case errors.Is(err, errCondition), err == nil && first:
			s.conditions.Store(passed + int32(i) + 1)
		case err == nil, errors.Is(err, errors.ErrUnsupported):
			s.conditions.Store(ignored)
			return errIgnored
		default:
			return err
		}
	}
	return nil
}
