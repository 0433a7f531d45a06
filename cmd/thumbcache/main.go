// Command thumbcache serves thumbnails of a folder of media, makes them ahead of time, and looks after the folder that they
// are kept in.
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

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for anything
	os.Exit(run(ctx, os.Args[1:], newConsole()))
}

// The exit codes.
const (
	exitOK          = 0
	exitFailed      = 1 // or something was found that is not as it should be
	exitUsage       = 2
	exitInterrupted = 130 // as a shell says of a program that Ctrl-C has ended
)

// misuse is an error in how the command was called.
type usageError struct{ error }

// errSaid ends a command that has said by itself what is wrong.
var errReported = errors.New("something is wrong")

// run runs one command and returns its exit code.
func run(ctx context.Context, args []string, to *console) int {
	out := &errWriter{Writer: to.out}
	c := *to
	c.out = out
	started := false
	root := &cobra.Command{
		Use:   "thumbcache",
		Short: "Thumbnails of music, pictures and videos, made once",
		Long: "Thumbnails of music, pictures and videos, made once.\n\n" +
			"All commands may be used while a server uses the same folder of thumbnails (DIR).\n" +
			"Exit codes: 0 all is well, 1 something failed or was found, 2 misuse, 130 interrupted.",
		Version: version(),
		// What goes wrong while it runs is no misuse.
		SilenceUsage:     true,
		SilenceErrors:    true,
		PersistentPreRun: func(*cobra.Command, []string) { started = true },
	}
	root.AddGroup(&cobra.Group{ID: "make", Title: "To make thumbnails:"}, &cobra.Group{ID: "keep", Title: "To look after a folder of thumbnails:"})
	add := func(group string, commands ...*cobra.Command) {
		for _, cmd := range commands {
			cmd.GroupID = group
			root.AddCommand(cmd)
		}
	}
	add("make", serveCommand(), warmCommand(&c), getCommand(&c))
	add("keep", statCommand(&c), verifyCommand(&c), gcCommand(&c), rmCommand(&c), explainCommand(&c))
	root.SetArgs(append([]string{}, args...)) // nil would be this process's own
	root.SetOut(c.out)
	root.SetErr(c.err)
	cmd, err := root.ExecuteContextC(ctx)
	err = cmp.Or(err, out.err)
	_, misused := errors.AsType[usageError](err)
	switch {
	case err == nil:
		return exitOK
	case misused || !started && err != out.err:
		fmt.Fprintf(c.err, "thumbcache: %v\nSee '%s --help'.\n", err, cmd.CommandPath())
		return exitUsage
	case ctx.Err() != nil:
		fmt.Fprintln(c.err, "thumbcache: interrupted")
		return exitInterrupted
	case err != errReported:
		// Of Config they know nothing here.
		fmt.Fprintln(c.err, "thumbcache:", escapeUnprintable(strings.TrimPrefix(strings.TrimPrefix(err.Error(), "thumbcache: "), "Config.")))
	}
	return exitFailed
}

// version tells which build this is.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && v == "(devel)" {
			v += " " + s.Value[:min(12, len(s.Value))]
		}
	}
	return v + " " + info.GoVersion
}
