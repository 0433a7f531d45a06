package s3_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net/http"
	"time"

	"github.com/thumbcache/thumbcache"
	"github.com/thumbcache/thumbcache/s3"
)

// A server that shares its thumbnails with others. Credentials come from the environment, as for the AWS tools.
func ExampleOpen() {
	store, err := s3.Open("s3://covers/thumbnails?region=eu-central-1")
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	switch err := store.Check(ctx); {
	case errors.Is(err, fs.ErrInvalid):
		log.Fatal(err) // a wrong setting
	case err != nil:
		log.Print(err) // the store is used as soon as it works
	}
	cache, err := thumbcache.New(thumbcache.Config{
		Providers:     map[string]thumbcache.Provider{"music": thumbcache.Files("/srv/music")},
		Dir:           "/var/cache/thumbnails",
		Shared:        store,
		SharedTimeout: 500 * time.Millisecond,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()
	log.Fatal(http.ListenAndServe(":8420", cache.Handler()))
}

// An unusable URL is an error that tells what is wrong, without the secrets that may be in it.
func ExampleOpen_unusable() {
	_, err := s3.Open("s3://AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI@covers/thumbnails")
	fmt.Println(err)
	// Output: s3: credentials must not be in the URL, but in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: invalid argument
}
