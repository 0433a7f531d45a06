package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

const (
	// silence is how long a server may send nothing before Listen pings it, and then again before Listen gives up.
	silence = 3 * time.Second

	// subscribeTimeout is for connecting and subscribing.
	subscribeTimeout = 2 * time.Second
)

// Notify implements [thumbcache.Notifier].
func (s *Store) Notify(ctx context.Context, message []byte) error {
	if err := s.client.Publish(ctx, s.channel, message).Err(); err != nil {
		return failed(ctx, err)
	}
	return nil
}

// Listen implements [thumbcache.Notifier]. If the server does not answer, it notices within 6 seconds.
func (s *Store) Listen(ctx context.Context, heard func(message []byte)) error {
	sub, err := s.subscribe(ctx)
	if err != nil {
		return failed(ctx, err)
	}
	defer sub.Close()
	stop := context.AfterFunc(ctx, func() { sub.Close() })
	defer stop()

	subscribed, pinged := false, false
	for {
		received, err := receive(ctx, sub)
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() && !pinged {
			pinged = true
			err = sub.Ping(ctx)
			if err == nil {
				continue
			}
		}
		if err != nil {
			return failed(ctx, err)
		}
		pinged = false
		switch received := received.(type) {
		case *goredis.Subscription:
			// The client reconnects by itself, and messages may be lost meanwhile. It subscribes again then.
			if subscribed {
				return errors.New("redis: the connection was lost")
			}
			subscribed = true
			heard(nil)
		case *goredis.Message:
			if received.Payload != "" { // Check sends empty ones
				heard([]byte(received.Payload))
			}
		}
	}
}

func (s *Store) subscribe(ctx context.Context) (*goredis.PubSub, error) {
	ctx, cancel := context.WithTimeout(ctx, subscribeTimeout)
	defer cancel()
	sub, done := s.client.Subscribe(ctx), make(chan error, 1)
	go func() { done <- sub.Subscribe(ctx, s.channel) }() // may ignore ctx, until the timeouts of the client end it
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		go sub.Close() // waits for Subscribe
		return nil, err
	}
	return sub, nil
}

// receive returns the next thing that the server sends. The client panics if that has an unknown form.
func receive(ctx context.Context, sub *goredis.PubSub) (received any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("unexpected answer: %v", p)
		}
	}()
	return sub.ReceiveTimeout(ctx, silence)
}
