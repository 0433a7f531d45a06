// Package e2e tests the page of "thumbcache serve" in a real browser.
//
//	go test ./...
//
// It needs ffmpeg, and chromium in PATH or where THUMBCACHE_CHROMIUM says. Where they are missing it skips its tests, unless
// THUMBCACHE_REQUIRE_FFMPEG and THUMBCACHE_REQUIRE_BROWSER are set. With THUMBCACHE_SCREENSHOTS naming a folder it leaves
// pictures of the page there, for a person to look at.
package e2e
