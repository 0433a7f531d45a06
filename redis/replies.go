package redis

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strconv"
	"syscall"

	goredis "github.com/redis/go-redis/v9"
)

// Limits on what a server may send. They matter because the client allocates memory for a length that it is told, whether or not
// so much follows. A length of 100 GB would end the program.
const (
	maxValue    = 1 << 20  // bytes of a string; the largest value that a Cache shares
	maxLine     = 16 << 10 // bytes of a number, a status or an error
	maxElements = 1 << 18  // of a reply, which may be nested; the list of all commands has tens of thousands
	maxReply    = 64 << 20 // bytes; a step of Walk has tens of values
)

// limited returns a dialer whose connections end when a server sends more than the limits allow.
func limited(o *goredis.Options) func(ctx context.Context, network, addr string) (net.Conn, error) {
	dial := goredis.NewDialer(o)
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		if socket, ok := conn.(syscall.Conn); ok {
			return limitedSocket{&limitedConn{Conn: conn}, socket}, nil
		}
		return &limitedConn{Conn: conn}, nil
	}
}

type limitedConn struct {
	net.Conn
	replies replies
}

func (c *limitedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if excess := c.replies.scan(p[:n]); excess != nil {
		c.Close()
		return 0, excess
	}
	return n, err
}

// A limitedSocket lets the client ask the system whether a connection that it has not used for a while still exists.
type limitedSocket struct {
	*limitedConn
	socket syscall.Conn
}

func (c limitedSocket) SyscallConn() (syscall.RawConn, error) { return c.socket.SyscallConn() }

var (
	errReply    = errors.New("the server does not speak the protocol of Redis")
	errTooLarge = errors.New("the server sends more than a value can have")
)

// replies follows what a server sends, in the protocol RESP2 or RESP3, and checks the lengths.
type replies struct {
	line     []byte // what has arrived of a line
	skip     int    // bytes that are left of a string, with its line end
	elements int    // of the reply, as far as announced
	pending  int    // those that are not there yet
	size     int    // bytes of the reply so far
}

// scan reads the next bytes.
func (r *replies) scan(p []byte) error {
	for len(p) > 0 {
		if r.skip > 0 {
			n := min(r.skip, len(p))
			r.skip -= n
			p = p[n:]
			continue
		}
		end := bytes.IndexByte(p, '\n') + 1
		if end == 0 {
			end = len(p)
		}
		if len(r.line)+end > maxLine {
			return errTooLarge
		}
		r.line = append(r.line, p[:end]...)
		p = p[end:]
		if r.line[len(r.line)-1] != '\n' {
			return nil
		}
		if err := r.element(r.line); err != nil {
			return err
		}
		r.line = r.line[:0]
	}
	return nil
}

// element reads the line that begins an element.
func (r *replies) element(line []byte) error {
	text, ok := bytes.CutSuffix(line, []byte("\r\n"))
	if !ok || len(text) == 0 {
		return errReply
	}
	if r.pending == 0 { // a new reply
		r.elements, r.pending, r.size = 1, 1, 0
	}
	r.pending--
	length := 0
	switch text[0] {
	case '+', '-', ':', '_', '#', ',', '(':
	case '$', '=', '!', '*', '~', '>', '%':
		var err error
		if length, err = strconv.Atoi(string(text[1:])); err != nil || length < -1 {
			return errReply
		}
	default: // also attributes, which Redis does not send, and the client reads recursively
		return errReply
	}
	switch text[0] {
	case '$', '=', '!':
		if length > maxValue {
			return errTooLarge
		}
		if length >= 0 { // -1 is null
			r.skip = length + len("\r\n")
		}
	case '*', '~', '>', '%':
		if length > maxElements {
			return errTooLarge
		}
		if text[0] == '%' {
			length *= 2 // keys and values
		}
		r.elements += max(length, 0)
		r.pending += max(length, 0)
	}
	if r.size += len(line) + r.skip; r.size > maxReply || r.elements > maxElements {
		return errTooLarge
	}
	return nil
}
