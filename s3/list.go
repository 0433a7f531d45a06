package s3

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"sync"

	"github.com/minio/minio-go/v7"
	"golang.org/x/sync/errgroup"
)

// list returns all objects whose names begin with prefix. An error is the last element.
func (s *Store) list(ctx context.Context, prefix string) iter.Seq2[minio.ObjectInfo, error] {
	return func(yield func(minio.ObjectInfo, error) bool) {
		ctx, done := begin(ctx)
		defer done()
		opts := minio.ListObjectsOptions{Prefix: prefix, Recursive: true, FetchOwner: new(bool)}
		for o := range s.client.ListObjectsIter(ctx, s.bucket, opts) {
			if o.Err != nil {
				yield(o, wrap(ctx, "list", o.Err))
				return
			}
			if !yield(o, nil) {
				return
			}
		}
		if ctx.Err() != nil { // the iterator ended early, and silently
			yield(minio.ObjectInfo{}, wrap(ctx, "list", ctx.Err()))
		}
	}
}

// removeOne removes an object. There is no error if it does not exist.
func (s *Store) removeOne(ctx context.Context, name string) error {
	ctx, done := begin(ctx)
	defer done()
	if err := s.client.RemoveObject(ctx, s.bucket, name, minio.RemoveObjectOptions{}); err != nil && !isGone(err) {
		return wrap(ctx, "remove", err)
	}
	return nil
}

// isGone reports whether a request failed only because the object does not exist. Amazon S3 does not fail to remove it then.
func isGone(err error) bool { return minio.ToErrorResponse(err).Code == minio.NoSuchKey }

// Usage returns the number of thumbnails and their bytes. It takes one request for each 1000 objects.
func (s *Store) Usage(ctx context.Context) (thumbnails int, bytes int64, err error) {
	for o, err := range s.list(ctx, s.prefix) {
		if err != nil {
			return thumbnails, bytes, err
		}
		if _, _, ok := s.parse(o.Key); ok {
			thumbnails++
			bytes += o.Size
		}
	}
	return thumbnails, bytes, nil
}

// walkers is how many objects Walk gets at once, because each takes the time of a round trip.
const walkers = 16

// Walk calls fn for each thumbnail, once at a time and in no particular order. Sealed is nil if the object is larger than 1 MiB.
// An error of fn ends the walk. Thumbnails that are stored or removed meanwhile may be left out.
func (s *Store) Walk(ctx context.Context, fn func(source, variant string, sealed []byte) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(walkers)
	var mu sync.Mutex // held during calls of fn
	for o, err := range s.list(ctx, s.prefix) {
		if err != nil {
			group.Go(func() error { return err })
			break
		}
		source, variant, ok := s.parse(o.Key)
		if !ok {
			continue
		}
		group.Go(func() error {
			got, err := s.get(ctx, o.Key)
			if err != nil && !errors.Is(err, errTooLarge) {
				if errors.Is(err, fs.ErrNotExist) {
					return nil // removed meanwhile
				}
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if err := ctx.Err(); err != nil {
				return err
			}
			return fn(source, variant, got.data)
		})
	}
	return group.Wait()
}
