//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"go/build"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	goredis "github.com/redis/go-redis/v9"

	"github.com/thumbcache/thumbcache/bench/internal/daemon"
)

// engines are the servers that the nodes share.
type engines struct {
	redis *daemon.Process
	s3    *daemon.Process // nil: values are in Redis, too
	admin *goredis.Client
}

const (
	accessKey = "fleet"
	secretKey = "fleet-secret"
	bucket    = "thumbnails"
)

// credentialsEnv is what the tools of AWS read.
var credentialsEnv = []string{"AWS_ACCESS_KEY_ID=" + accessKey, "AWS_SECRET_ACCESS_KEY=" + secretKey, "AWS_REGION=us-east-1"}

// startEngines starts redis-server, and versitygw if withS3 is set. The error is exec.ErrNotFound if there is none.
func startEngines(dir string, withS3 bool) (*engines, error) {
	addr, err := daemon.FreeAddr()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(addr)
	e := &engines{
		redis: &daemon.Process{Name: "redis-server", Addr: addr,
			Args: []string{"--port", port, "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--loglevel", "warning"}},
		admin: goredis.NewClient(&goredis.Options{Addr: addr, MaxRetries: 10, MinRetryBackoff: 20 * time.Millisecond}),
	}
	if err := e.redis.Start(); err != nil {
		return nil, err
	}
	if withS3 {
		if err := e.startS3(dir); err != nil {
			e.kill()
			return nil, err
		}
	}
	return e, nil
}

func (e *engines) startS3(dir string) error {
	binary, err := exec.LookPath("versitygw")
	if err != nil {
		binary = filepath.Join(build.Default.GOPATH, "bin", "versitygw")
		if _, err := os.Stat(binary); err != nil {
			return fmt.Errorf("versitygw: %w; go install github.com/versity/versitygw/cmd/versitygw@v1.8.0", exec.ErrNotFound)
		}
	}
	addr, err := daemon.FreeAddr()
	if err != nil {
		return err
	}
	objects := filepath.Join(dir, "objects")
	if err := os.Mkdir(objects, 0o700); err != nil {
		return err
	}
	s3 := &daemon.Process{Name: binary, Addr: addr,
		Args: []string{"--port", addr, "--access", accessKey, "--secret", secretKey, "--quiet", "--keep-alive", "posix", objects}}
	if err := s3.Start(); err != nil {
		return err
	}
	e.s3 = s3
	client, err := minio.New(addr, &minio.Options{Creds: credentials.NewStaticV4(accessKey, secretKey, "")})
	if err != nil {
		return err
	}
	return client.MakeBucket(context.Background(), bucket, minio.MakeBucketOptions{Region: "us-east-1"})
}

func (e *engines) kill() {
	e.admin.Close()
	for _, p := range []*daemon.Process{e.redis, e.s3} {
		if p != nil {
			p.Kill()
		}
	}
}

// flags returns the flags of nodes without a disk that use the engines. Nodes with different prefixes share nothing.
func (e *engines) flags(prefix, redisQuery string) []string {
	flags := []string{"--dir=", "--shared=redis://" + e.redis.Addr + "/0?prefix=" + prefix + ":" + redisQuery}
	if e.s3 != nil {
		flags = append(flags, "--shared=s3://"+bucket+"/"+prefix+"?region=us-east-1&endpoint=http://"+e.s3.Addr)
	}
	return flags
}

// configure sets a setting of Redis.
func (e *engines) configure(name, value string) error {
	return e.admin.ConfigSet(context.Background(), name, value).Err()
}

// usedMemory returns how many bytes Redis uses.
func (e *engines) usedMemory() (int, error) {
	info, err := e.admin.InfoMap(context.Background(), "memory").Result()
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(info["Memory"]["used_memory"])
}

// awaitLease waits until a node has a lease of a thumbnail of a prefix.
func (e *engines) awaitLease(prefix string) error {
	ctx := context.Background()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		keys, err := e.admin.Keys(ctx, prefix+":{*").Result()
		if err != nil {
			return err
		}
		for _, key := range keys {
			fields, err := e.admin.HKeys(ctx, key).Result()
			if err != nil {
				return err
			}
			for _, f := range fields {
				if len(f) > 6 && f[:6] == "lease:" {
					return nil
				}
			}
		}
	}
	return errors.New("no node took a lease")
}
