//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/build"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	goredis "github.com/redis/go-redis/v9"
)

// A process is a server on a port of the loopback.
type process struct {
	name   string
	args   []string
	env    []string
	addr   string
	cmd    *exec.Cmd // nil: it does not run
	exited chan struct{}
	output *bytes.Buffer // of all starts; read it only after the process has ended
}

// freeAddr returns an address at which nothing listens.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// start starts the process, and waits until it listens.
func (p *process) start() error {
	if p.output == nil {
		p.output = new(bytes.Buffer)
	}
	cmd := exec.Command(p.name, p.args...)
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdout, cmd.Stderr = p.output, p.output
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() { cmd.Wait(); close(exited) }()
	p.cmd, p.exited = cmd, exited
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		select {
		case <-exited:
			p.cmd = nil
			return fmt.Errorf("%s has ended:\n%s", p.name, p.output)
		default:
		}
		if c, err := net.Dial("tcp", p.addr); err == nil {
			return c.Close()
		}
	}
	p.kill()
	return fmt.Errorf("%s does not listen:\n%s", p.name, p.output)
}

// kill ends the process at once, as a loss of power would.
func (p *process) kill() { p.end(syscall.SIGKILL) }

// stop lets the process finish what it does.
func (p *process) stop() { p.end(syscall.SIGTERM) }

func (p *process) end(s syscall.Signal) {
	if p.cmd == nil {
		return
	}
	p.cmd.Process.Signal(s)
	select {
	case <-p.exited:
	case <-time.After(20 * time.Second):
		p.cmd.Process.Kill()
		<-p.exited
	}
	p.cmd = nil
}

// freeze stops the process. Its connections stay open, and the system still accepts new ones.
func (p *process) freeze() { p.cmd.Process.Signal(syscall.SIGSTOP) }

func (p *process) thaw() { p.cmd.Process.Signal(syscall.SIGCONT) }

// engines are the servers that the nodes share.
type engines struct {
	redis *process
	s3    *process // nil: values are in Redis, too
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
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(addr)
	e := &engines{
		redis: &process{name: "redis-server", addr: addr,
			args: []string{"--port", port, "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--loglevel", "warning"}},
		admin: goredis.NewClient(&goredis.Options{Addr: addr, MaxRetries: 10, MinRetryBackoff: 20 * time.Millisecond}),
	}
	if err := e.redis.start(); err != nil {
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
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	objects := filepath.Join(dir, "objects")
	if err := os.Mkdir(objects, 0o700); err != nil {
		return err
	}
	s3 := &process{name: binary, addr: addr,
		args: []string{"--port", addr, "--access", accessKey, "--secret", secretKey, "--quiet", "--keep-alive", "posix", objects}}
	if err := s3.start(); err != nil {
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
	for _, p := range []*process{e.redis, e.s3} {
		if p != nil {
			p.kill()
		}
	}
}

// flags returns the flags of nodes without a disk that use the engines. Nodes with different prefixes share nothing.
func (e *engines) flags(prefix, redisQuery string) []string {
	flags := []string{"--dir=", "--shared=redis://" + e.redis.addr + "/0?prefix=" + prefix + ":" + redisQuery}
	if e.s3 != nil {
		flags = append(flags, "--shared=s3://"+bucket+"/"+prefix+"?region=us-east-1&endpoint=http://"+e.s3.addr)
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
