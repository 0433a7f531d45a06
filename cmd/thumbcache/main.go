// Command thumbcache serves a folder of media as a page of thumbnails, generates thumbnails in advance, and maintains
// thumbnail folders.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9/logging"
	"github.com/spf13/cobra"
)

func main() {
	logging.Disable() // go-redis prints every failed attempt to connect; a cache warns once
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the first Ctrl-C shuts down cleanly; a second one kills the process
	os.Exit(run(ctx, os.Args[1:], newConsole()))
}

// The exit codes.
const (
	exitOK          = 0
	exitFailed      = 1   // the command failed, or found a problem such as a corrupt file
	exitUsage       = 2   // wrong arguments or flags
	exitInterrupted = 130 // canceled by a signal; the same code that a shell reports after Ctrl-C
)

// A usageError reports wrong arguments or flags.
type usageError struct{ error }

// errReported makes run return exitFailed without printing anything, because the command has already printed the problem.
var errReported = errors.New("problem already reported")

// run executes the command line args, writing to streams, and returns the exit code.
func run(ctx context.Context, args []string, streams *console) int {
	out := &errWriter{Writer: streams.out}
	c := *streams
	c.out = out
	started := false
	root := &cobra.Command{
		Use:   "thumbcache",
		Short: "Make and cache thumbnails of music, images and videos",
		Long: "Make thumbnails of music, images and videos, and cache them in a folder (DIR).\n\n" +
			"It is safe to run any command while a server uses the same DIR.\n\n" +
			"Exit codes:\n" +
			"    0  success\n" +
			"    1  the command failed, or found a problem\n" +
			"    2  wrong arguments or flags\n" +
			"  130  interrupted",
		Version: buildVersion(),
		// Do not print the usage if a command fails while it runs. After a usage error, run prints a hint.
		SilenceUsage:     true,
		SilenceErrors:    true,
		PersistentPreRun: func(*cobra.Command, []string) { started = true },
	}
	root.AddGroup(&cobra.Group{ID: "make", Title: "Make thumbnails:"}, &cobra.Group{ID: "keep", Title: "Inspect and maintain a thumbnail folder:"})
	add := func(group string, commands ...*cobra.Command) {
		for _, cmd := range commands {
			cmd.GroupID = group
			root.AddCommand(cmd)
		}
	}
	add("make", serveCommand(&c), warmCommand(&c), getCommand(&c), sheetCommand(&c))
	add("keep", statCommand(&c), verifyCommand(&c), gcCommand(&c), rmCommand(&c), explainCommand(&c), doctorCommand(&c))
	root.SetArgs(append([]string{}, args...)) // cobra reads os.Args if this is nil
	root.SetOut(c.out)
	root.SetErr(c.err)
	cmd, err := root.ExecuteContextC(ctx)
	err = cmp.Or(err, out.err)
	_, isUsageError := errors.AsType[usageError](err)
	switch {
	case err == nil:
		return exitOK
	case isUsageError || !started && err != out.err: // before a command starts, only parsing can fail
		fmt.Fprintf(c.err, "thumbcache: %v\nSee '%s --help'.\n", err, cmd.CommandPath())
		return exitUsage
	case ctx.Err() != nil:
		fmt.Fprintln(c.err, "thumbcache: interrupted")
		return exitInterrupted
	case err != errReported:
		// "Config." names a Go field, which means nothing to a user of the command.
		fmt.Fprintln(c.err, "thumbcache:", escapeUnprintable(strings.TrimPrefix(strings.TrimPrefix(err.Error(), "thumbcache: "), "Config.")))
	}
	return exitFailed
}

// buildVersion returns the version of this build, see formatVersion.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return formatVersion(info)
}

// formatVersion returns the version of the module, the commit if the build records it, and the version of Go. "go run" and
// "go test" record no commit, and "go install" of a release has none to record.
func formatVersion(info *debug.BuildInfo) string {
	v := cmp.Or(info.Main.Version, "(devel)")
	settings := make(map[string]string)
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	if commit := settings["vcs.revision"]; commit != "" {
		v += " (commit " + commit[:min(12, len(commit))]
		if settings["vcs.modified"] == "true" {
			v += ", modified"
		}
		v += ")"
	}
	return v + " " + info.GoVersion
}
