// Package s3 keeps the thumbnails of several machines in an object store: Amazon S3, or one that is compatible with it.
//
//	store, err := s3.Open("s3://bucket/prefix?region=eu-central-1")
//	...
//	cache, err := thumbcache.New(thumbcache.Config{Providers: providers, Dir: dir, Shared: store})
//
// Amazon S3 may take longer than the default of Config.SharedTimeout, 100 milliseconds. Set it to half a second.
//
// A [Store] is a [thumbcache.Shared], [thumbcache.Leaser] and [thumbcache.Committer]. It has no messages, so a machine notices that
// another one called Invalidate only when it checks the source again. For messages, and for faster leases, compose it with Redis:
//
//	shared := thumbcache.Compose(store, turns)
//
// # Objects
//
// The object of a thumbnail is called
//
//	<prefix>/<first 2 digits of the hash>/<hash>/<variant>
//
// It contains a sealed file, as described in docs/format.md, and can be displayed as a picture: its Content-Type is image/jpeg,
// image/png or image/webp. A CDN can serve the bucket. Cache-Control lets it keep a picture for five minutes, so an old one may be
// shown for that long after it was replaced or removed.
//
// Next to it, an object called "-lease.<variant>" exists while a machine makes the thumbnail. An object README.thumbcache below
// the prefix explains the bucket to people who find it.
//
// # Expiry
//
// A Store removes thumbnails only in [Store.Remove]. Let a lifecycle rule of the bucket remove what is old:
//
//	<LifecycleConfiguration>
//	  <Rule>
//	    <ID>thumbnails</ID>
//	    <Status>Enabled</Status>
//	    <Filter><Prefix>prefix/</Prefix></Filter>
//	    <Expiration><Days>90</Days></Expiration>
//	  </Rule>
//	</LifecycleConfiguration>
//
// A thumbnail that is still in use is then made again once in 90 days, unless a machine has it in its own Dir. Do not enable
// versioning for the bucket: removed thumbnails would be kept as old versions.
//
// # Leases
//
// A lease is an object that is created if it does not exist (If-None-Match), and renewed and taken over if it has not
// changed (If-Match). [Store.Lease] tries once whether the store respects these conditions. If it does not, its error is
// [errors.ErrUnsupported], and several machines may make the same thumbnail at the same time.
//
// The clocks of the machines do not matter for leases. A lease has expired if, by the clock of the store, it was written longer
// ago than its life, or if a machine has seen it unchanged for that long. But signatures contain the time: the store refuses all
// requests of a machine whose clock differs from its own by more than 15 minutes.
//
// # Security
//
// Whoever can write to the bucket can show pictures, because the checksum in a sealed file is not a signature. The machines need
// the permissions s3:GetObject, s3:PutObject and s3:DeleteObject for the objects below the prefix, and s3:ListBucket for the
// bucket. Without s3:ListBucket, Amazon S3 does not tell a missing object from a forbidden one. Thumbnails are neither encrypted
// nor secret to readers of the bucket. Their names are hashes, but each sealed file contains the provider and path of its source: a
// CDN that serves the bucket publishes these too.
package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync/atomic"

	"github.com/minio/minio-go/v7"

	"github.com/thumbcache/thumbcache"
)

const (
	maxValue   = 1 << 20 // bytes; larger objects are not ours
	maxVariant = 64      // characters

	leasePrefix = "-lease." // and a variant; no variant contains "-"
)

// A Store keeps thumbnails in a bucket. Its methods may be called from several goroutines at once.
type Store struct {
	client     *minio.Client
	core       minio.Core
	bucket     string
	prefix     string       // "", or ends with "/"
	conditions atomic.Int32 // how many of conditionTests the store has passed, or ignored
	watches    watches
}

var (
	_ thumbcache.Shared    = (*Store)(nil)
	_ thumbcache.Leaser    = (*Store)(nil)
	_ thumbcache.Committer = (*Store)(nil)
)

// Options are the settings of a [Store].
type Options struct {
	// Prefix begins the names of all objects. "" uses the whole bucket. A slash is added.
	Prefix string
}

// New returns a Store for a bucket. [Open] is easier, unless the client needs settings of its own. Set MaxRetries to 1 in the
// options of the client, because a Cache would rather make a thumbnail than wait for a second try. Set its region too: without
// one, the client begins with a request for it.
func New(client *minio.Client, bucket string, opts Options) *Store {
	prefix := strings.Trim(opts.Prefix, "/")
	if prefix != "" {
		prefix += "/"
	}
	return &Store{client: client, core: minio.Core{Client: client}, bucket: bucket, prefix: prefix}
}

// Get returns a thumbnail. The error is fs.ErrNotExist if there is none, or if the object is larger than 1 MiB and thus not ours.
func (s *Store) Get(ctx context.Context, source, variant string) ([]byte, error) {
	name, err := s.name(source, variant)
	if err != nil {
		return nil, err
	}
	o, err := s.get(ctx, name)
	return o.data, err
}

// Put stores a thumbnail of at most 1 MiB.
func (s *Store) Put(ctx context.Context, source, variant string, sealed []byte) error {
	name, err := s.name(source, variant)
	if err != nil {
		return err
	}
	_, err = s.put(ctx, name, sealed, always)
	return err
}

// Remove removes all thumbnails of a source, and ends its leases.
func (s *Store) Remove(ctx context.Context, source string) error {
	dir, err := s.dir(source)
	if err != nil {
		return err
	}
	// The holder of a lease may store its thumbnail after the first listing, as long as the lease has not ended. The second time,
	// no lease from before is left.
	for range 2 {
		if err := s.removeBelow(ctx, dir); err != nil {
			return err
		}
	}
	return nil
}

// removeBelow removes what one listing returns.
func (s *Store) removeBelow(ctx context.Context, dir string) (err error) {
	ctx, done := begin(ctx)
	defer done()
	listed := func(yield func(minio.ObjectInfo) bool) {
		for o, listErr := range s.list(ctx, dir) {
			if listErr != nil {
				err = listErr
				return
			}
			if strings.HasPrefix(o.Key, dir+leasePrefix) {
				// First replace the lease: unlike two puts, a put and a removal are not atomic on all stores. On versitygw, the
				// removed lease may come back.
				if _, err = s.put(ctx, o.Key, []byte("removed 0s\n"), always); err != nil {
					return
				}
			}
			if !yield(o) {
				return
			}
		}
	}
	results, removeErr := s.client.RemoveObjectsWithIter(ctx, s.bucket, listed, minio.RemoveObjectsOptions{})
	if removeErr != nil {
		return wrap(ctx, "remove", removeErr)
	}
	for r := range results {
		if err == nil && r.Err != nil && !isGone(r.Err) {
			err = wrap(ctx, "remove", r.Err)
		}
	}
	if err == nil && ctx.Err() != nil { // the iterator ended early, and silently
		err = wrap(ctx, "remove", ctx.Err())
	}
	return err
}

// dir returns the part of the names that all objects of a source share.
func (s *Store) dir(source string) (string, error) {
	if len(source) != 64 || strings.Trim(source, "0123456789abcdef") != "" {
		return "", fmt.Errorf("s3: the source %.64q is not a hash: %w", source, fs.ErrInvalid)
	}
	return s.prefix + source[:2] + "/" + source + "/", nil
}

// name returns the name of the object of a thumbnail.
func (s *Store) name(source, variant string) (string, error) {
	dir, err := s.dir(source)
	if err != nil {
		return "", err
	}
	if variant == "" || len(variant) > maxVariant || strings.IndexByte("._", variant[0]) >= 0 ||
		strings.Trim(variant, "._0123456789abcdefghijklmnopqrstuvwxyz") != "" {
		return "", fmt.Errorf("s3: the variant %.64q is not valid: %w", variant, fs.ErrInvalid)
	}
	return dir + variant, nil
}

// parse returns what [Store.name] made the name of an object from. It reports false for leases and foreign objects.
func (s *Store) parse(name string) (source, variant string, ok bool) {
	_, rest, _ := strings.Cut(strings.TrimPrefix(name, s.prefix), "/")
	source, variant, _ = strings.Cut(rest, "/")
	again, err := s.name(source, variant)
	return source, variant, err == nil && again == name
}

// An object is what the store returned.
type object struct {
	data []byte
	info minio.ObjectInfo
	date string // of the answer, by the clock of the store
}

// get returns an object of at most maxValue bytes.
func (s *Store) get(ctx context.Context, name string) (object, error) {
	ctx, done := begin(ctx)
	defer done()
	body, info, header, err := s.core.GetObject(ctx, s.bucket, name, minio.GetObjectOptions{})
	if err != nil {
		return object{}, wrap(ctx, "get", err)
	}
	defer body.Close()
	switch {
	case info.Size < 0:
		return object{}, errors.New("s3: get: the answer has no length")
	case info.Size > maxValue:
		return object{}, errTooLarge
	}
	data := make([]byte, info.Size)
	if _, err := io.ReadFull(body, data); err != nil {
		return object{}, wrap(ctx, "get", err)
	}
	return object{data, info, header.Get("Date")}, nil
}

// A condition restricts a put: "" stores always, "*" only if there is no such object, and an ETag only if the object still has it.
type condition string

const (
	always condition = ""
	absent condition = "*"
)

// put stores an object and returns its ETag.
func (s *Store) put(ctx context.Context, name string, data []byte, only condition) (etag condition, err error) {
	if len(data) > maxValue {
		return "", fmt.Errorf("s3: put: more than 1 MiB: %w", fs.ErrInvalid)
	}
	ctx, done := begin(ctx)
	defer done()
	opts := minio.PutObjectOptions{DisableMultipart: true}
	// minio-go signs the chunks of the body, and sends a last chunk that a server does not expect after an empty body.
	opts.DisableContentSha256 = len(data) == 0
	opts.ContentType, opts.CacheControl = headers(name, data)
	switch only {
	case always:
	case absent:
		opts.SetMatchETagExcept("*")
	default:
		opts.SetMatchETag(string(only))
	}
	var info minio.UploadInfo
	for range 3 {
		info, err = s.client.PutObject(ctx, s.bucket, name, bytes.NewReader(data), int64(len(data)), opts)
		// versitygw on a file system says this if it has removed the folder of other objects meanwhile, because that was empty.
		if minio.ToErrorResponse(err).Code != "ExistingObjectIsDirectory" {
			break
		}
	}
	if err != nil {
		if only != always && only != absent && isGone(err) {
			return "", errCondition
		}
		return "", wrap(ctx, "put", err)
	}
	if info.ETag == "" {
		return "", errors.New("s3: put: the answer has no ETag")
	}
	return condition(info.ETag), nil
}

// headers returns the Content-Type and Cache-Control of an object.
func headers(name string, data []byte) (contentType, cacheControl string) {
	const picture = "public, max-age=300"
	base := path.Base(name)
	switch ext := path.Ext(base); {
	case base == readme, strings.HasPrefix(base, leasePrefix):
		return "text/plain; charset=utf-8", "no-store"
	case ext == ".jpg":
		return "image/jpeg", picture
	case ext == ".png":
		return "image/png", picture
	case ext == ".auto":
		return http.DetectContentType(data), picture
	case ext == ".webp":
		return "image/webp", picture
	}
	return "application/octet-stream", "no-store"
}
