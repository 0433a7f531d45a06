module github.com/thumbcache/thumbcache/cmd/thumbcache

go 1.26.0

replace github.com/thumbcache/thumbcache => ../..

require (
	github.com/spf13/cobra v1.10.2
	github.com/thumbcache/thumbcache v0.0.0-00010101000000-000000000000
)

require (
	github.com/hashicorp/golang-lru/v2 v2.0.7 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/spf13/pflag v1.0.9 // indirect
	golang.org/x/image v0.47.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
