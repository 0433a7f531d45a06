//go:build !linux

package main

import "context"

// describeFileSystem returns neither name nor free space, for which each system has other calls. So doctor does not warn about
// a network file system or a full disk here.
func describeFileSystem(string) (kind string, free int64) { return "", -1 }

// checkFileSystem checks nothing: the features that depend on the file system are used on Linux only.
func (d *doctorResult) checkFileSystem(_, _ string) {}

// checkSystem checks nothing: all supported versions of these systems offer the same.
func (d *doctorResult) checkSystem(context.Context) {}
