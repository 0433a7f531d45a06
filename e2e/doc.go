// Package e2e tests the page of "thumbcache serve" in a real browser.
//
//	go test ./...
//
// The tests need ffmpeg in PATH, and chromium in PATH or at the path in THUMBCACHE_CHROMIUM. They are skipped if one is
// missing, and fail instead if THUMBCACHE_REQUIRE_FFMPEG or THUMBCACHE_REQUIRE_BROWSER is set.
//
// If THUMBCACHE_AXE is the path of axe.min.js, which "npm install axe-core" provides, they also check accessibility.
//
// If THUMBCACHE_SCREENSHOTS names a folder, the tests save screenshots of the page there, for visual review.
package e2e
