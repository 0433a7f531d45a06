package netguard

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
)

func TestCheck(t *testing.T) {
	for _, test := range []struct {
		public    bool
		addresses string
	}{
		{true, "1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 93.184.216.34 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255 " +
			"172.15.255.255 172.32.0.0 192.0.1.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255"},
		{true, "2000:: 2001:200:: 2001:4860:4860::8888 2606:4700::1111 2a00:1450::1 3ffe::1 3fff:ffff::1"},
		{true, "::ffff:8.8.8.8 64:ff9b::8.8.8.8"},
		{false, "0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.254 169.254.169.254 172.16.0.1 " +
			"172.31.255.255 192.0.0.1 192.0.0.170 192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 " +
			"224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255"},
		{false, ":: ::1 ::7f00:1 ::10.0.0.1 100::1 1fff:ffff::1 2001::1 2001:1::1 2001:db8::1 2002:7f00:1:: 2002:808:808:: 3fff::1 " +
			"4000::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 fec0::1 ff02::1 ffff::1"},
		{false, "::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1 64:ff9b::127.0.0.1 64:ff9b::10.0.0.1 " +
			"64:ff9b::169.254.169.254 64:ff9b:1::8.8.8.8 64:ff9b::1:808:808"},
	} {
		for address := range strings.FieldsSeq(test.addresses) {
			err := Guard{}.Check(netip.MustParseAddr(address))
			if (err == nil) != test.public || err != nil && !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%s: %v, want public: %v", address, err, test.public)
			}
		}
	}
	if err := (Guard{}).Check(netip.Addr{}); err == nil {
		t.Error("no address is a public address")
	}
}

func TestAllow(t *testing.T) {
	g := Guard{Allow: []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24"), netip.MustParsePrefix("fd00::/8")}}
	for address, allowed := range map[string]bool{
		"192.168.7.1": true, "::ffff:192.168.7.1": true, "fd00::1": true, "8.8.8.8": true,
		"192.168.8.1": false, "127.0.0.1": false, "fc00::1": false, "::1": false,
	} {
		if err := g.Check(netip.MustParseAddr(address)); (err == nil) != allowed {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestCheckHost(t *testing.T) {
	for host, refused := range map[string]bool{
		"127.0.0.1": true, "::1": true, "fe80::1%eth0": true, "8.8.8.8": false, "localhost": false, "127.1": false, "": false,
	} {
		if err := (Guard{}).CheckHost(host); (err != nil) != refused {
			t.Errorf("%q: %v", host, err)
		}
	}
}

// No connection is made to an address that is not public, whether a URL has the address, a name for it, or an unusual form of it.
func TestTransport(t *testing.T) {
	var connections atomic.Int32
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())

	client := &http.Client{Transport: Guard{}.Transport()}
	defer client.CloseIdleConnections()
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "[::]", "[::1]"} {
		resp, err := client.Get("http://" + host + ":" + port)
		if err == nil {
			resp.Body.Close()
		}
		if !errors.Is(err, ErrNotPublic) {
			t.Errorf("%s: %v", host, err)
		}
	}
	// The system decides whether these are names or addresses. They must not lead anywhere in either case.
	for _, host := range []string{"127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.1.", "127。0。0。1", "localhost."} {
		if resp, err := client.Get("http://" + host + ":" + port); err == nil {
			resp.Body.Close()
			t.Errorf("%s: %s", host, resp.Status)
		}
	}
	if n := connections.Load(); n != 0 {
		t.Errorf("%d connections, want 0", n)
	}

	allowed := &http.Client{Transport: Guard{Allow: prefixes("127.0.0.0/8")}.Transport()}
	defer allowed.CloseIdleConnections()
	resp, err := allowed.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// A name that resolves to another address than before, or to several, leads to allowed ones only.
func TestRebinding(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "reached") }))
	defer server.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())

	var answer atomic.Pointer[[]string]
	d := Guard{Allow: prefixes("127.0.0.1/32")}.dialer()
	d.Resolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, ours := net.Pipe()
		go answerDNS(ours, *answer.Load())
		return client, nil
	}}
	for _, test := range []struct {
		addresses []string
		reached   bool
	}{
		{[]string{"127.0.0.1"}, true},
		{[]string{"127.0.0.2"}, false},
		{[]string{"10.0.0.1", "169.254.169.254", "0.0.0.0"}, false},
		{[]string{"127.0.0.2", "127.0.0.1"}, true},
		{[]string{"192.168.0.1"}, false},
	} {
		answer.Store(&test.addresses)
		transport := &http.Transport{DialContext: d.DialContext, DisableKeepAlives: true}
		resp, err := (&http.Client{Transport: transport}).Get("http://rebinding.test:" + port)
		if err == nil {
			resp.Body.Close()
		}
		if (err == nil) != test.reached || err != nil && !errors.Is(err, ErrNotPublic) {
			t.Errorf("%v: %v", test.addresses, err)
		}
	}
}

// answerDNS answers one question over TCP (RFC 1035): for addresses of IPv4 with some, and for all else with none.
func answerDNS(conn net.Conn, addresses []string) {
	defer conn.Close()
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return
	}
	query := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, query); err != nil {
		return
	}
	const header = 12
	end := header + bytes.IndexByte(query[header:], 0) + 1 // of the name; type and class follow
	if binary.BigEndian.Uint16(query[end:]) != 1 {
		addresses = nil
	}
	reply := append([]byte(nil), query[:end+4]...)
	binary.BigEndian.PutUint16(reply[2:], 0x8180) // an answer, without error
	binary.BigEndian.PutUint16(reply[6:], uint16(len(addresses)))
	binary.BigEndian.PutUint16(reply[8:], 0)
	binary.BigEndian.PutUint16(reply[10:], 0)
	for _, a := range addresses {
		reply = append(reply, 0xc0, header, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4) // the name in the question, A, IN, no time to live
		reply = append(reply, netip.MustParseAddr(a).AsSlice()...)
	}
	conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...))
}

// What is not an address and a port is refused.
func TestControl(t *testing.T) {
	for address, want := range map[string]error{
		"8.8.8.8:443": nil, "[2606:4700::1111]:80": nil, "127.0.0.1:80": ErrNotPublic, "[fe80::1%eth0]:80": ErrNotPublic,
		"/run/x.sock": ErrNotPublic, "": ErrNotPublic, "localhost:80": ErrNotPublic,
	} {
		if err := (Guard{}).control(t.Context(), "tcp", address, nil); err != want {
			t.Errorf("%q: %v", address, err)
		}
	}
}
