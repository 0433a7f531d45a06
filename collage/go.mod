module github.com/thumbcache/thumbcache/collage

go 1.26.0

require (
	github.com/disintegration/imaging v1.6.2
	github.com/thumbcache/thumbcache v0.1.0
)

require (
	github.com/hashicorp/golang-lru/v2 v2.0.7 // indirect
	golang.org/x/image v0.47.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
