// Package netguard connects to public addresses only. A server that fetches URLs which others may have chosen must not become a
// way into its own network: to the server itself, to machines beside it, or to the metadata service of a cloud.
//
// The address is checked when the connection is made, after all names were resolved. So it does not matter how a URL writes an
// address, and a name that resolves to another address the second time gains nothing.
package netguard

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"syscall"
	"time"
)

// ErrNotPublic says that an address is not public. It matches fs.ErrInvalid.
var ErrNotPublic = fmt.Errorf("not a public address: %w", fs.ErrInvalid)

// A Guard decides which addresses may be connected to. It must not change once it is in use.
type Guard struct {
	Allow []netip.Prefix // may be connected to although they are not public
}

// Check returns ErrNotPublic unless a may be connected to.
func (g Guard) Check(a netip.Addr) error {
	a = a.Unmap().WithZone("")
	if isPublic(a) || slices.ContainsFunc(g.Allow, func(p netip.Prefix) bool { return p.Contains(a) }) {
		return nil
	}
	return ErrNotPublic
}

// CheckHost is Check for the host of a URL if it is an address. A name is checked when it is connected to.
func (g Guard) CheckHost(host string) error {
	a, err := netip.ParseAddr(host)
	if err != nil {
		return nil
	}
	return g.Check(a)
}

// Transport returns a Transport that connects to nothing else. It uses no proxy, because it could not see what a proxy connects to.
func (g Guard) Transport() *http.Transport {
	return &http.Transport{
		DialContext:            g.dialer().DialContext,
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  30 * time.Second,
		IdleConnTimeout:        30 * time.Second,
		MaxIdleConns:           16,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true, // pictures are compressed already
	}
}

func (g Guard) dialer() *net.Dialer {
	return &net.Dialer{Timeout: 10 * time.Second, ControlContext: g.control}
}

// control is called with each address before a connection to it is made.
func (g Guard) control(_ context.Context, network, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return ErrNotPublic
	}
	return g.Check(to.Addr())
}

// nonPublic are the networks of IPv4 that are not reached over the internet (RFC 6890 and its successors).
var nonPublic = prefixes(
	"0.0.0.0/8",       // this host, this network
	"10.0.0.0/8",      // private
	"100.64.0.0/10",   // shared by customers of a provider (CGNAT)
	"127.0.0.0/8",     // loopback
	"169.254.0.0/16",  // link-local, among them metadata services
	"172.16.0.0/12",   // private
	"192.0.0.0/24",    // protocols
	"192.0.2.0/24",    // documentation
	"192.88.99.0/24",  // relays of 6to4
	"192.168.0.0/16",  // private
	"198.18.0.0/15",   // benchmarks
	"198.51.100.0/24", // documentation
	"203.0.113.0/24",  // documentation
	"224.0.0.0/4",     // multicast
	"240.0.0.0/4",     // reserved, broadcast
)

// Of IPv6, only global unicast addresses are public. These parts of it are not, among them those that contain an IPv4 address.
var (
	globalUnicast   = netip.MustParsePrefix("2000::/3")
	nonPublicGlobal = prefixes(
		"2001::/23",     // protocols, Teredo
		"2001:db8::/32", // documentation
		"2002::/16",     // 6to4
		"3fff::/20",     // documentation
	)
	nat64 = netip.MustParsePrefix("64:ff9b::/96") // an IPv4 address, which a gateway connects to
)

func prefixes(texts ...string) (list []netip.Prefix) {
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

// isPublic reports whether a belongs to the public internet.
func isPublic(a netip.Addr) bool {
	if nat64.Contains(a) {
		b := a.As16()
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	in := func(p netip.Prefix) bool { return p.Contains(a) }
	if a.Is4() {
		return !slices.ContainsFunc(nonPublic, in)
	}
	return globalUnicast.Contains(a) && !slices.ContainsFunc(nonPublicGlobal, in)
}
