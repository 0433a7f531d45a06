package main

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
)

const (
	tokenVariable  = "THUMBCACHE_TOKEN" // of the environment
	minTokenLength = 16                 // characters; shorter ones could be guessed
	maxTokenLength = 1024
)

// A token is the hash of a secret that clients send. Hashes have one length, so that comparing them reveals none.
type token [sha256.Size]byte

// readToken returns the token in a file, or that of the environment if file is "", or nil if there is none. Its errors contain no part
// of the token.
func readToken(file string) (*token, error) {
	secret, where := os.Getenv(tokenVariable), tokenVariable
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("--token-file: %w", err)
		}
		secret, where = strings.TrimSpace(string(text)), "--token-file"
	} else if secret == "" {
		return nil, nil
	}
	switch {
	case len(secret) < minTokenLength || len(secret) > maxTokenLength:
		return nil, usageError{fmt.Errorf("%s: a token must have %d to %d characters, for example from 'openssl rand -hex 32'", where, minTokenLength, maxTokenLength)}
	case strings.ContainsFunc(secret, func(c rune) bool { return c <= ' ' || c > '~' }):
		return nil, usageError{errors.New(where + ": a token must consist of visible ASCII characters")}
	}
	t := token(sha256.Sum256([]byte(secret)))
	return &t, nil
}

// isIn reports whether a request has the token.
func (t *token) isIn(r *http.Request) bool {
	scheme, secret, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	sum := sha256.Sum256([]byte(strings.TrimSpace(secret)))
	return ok && strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(sum[:], t[:]) == 1
}
