// Command thumbcache serves thumbnails of a folder of media.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for anything
	started := false
	root := &cobra.Command{
		Use:   "thumbcache",
		Short: "Thumbnails of music, pictures and videos, made once",
		// What goes wrong while it runs is no misuse.
		SilenceUsage:     true,
		SilenceErrors:    true,
		PersistentPreRun: func(*cobra.Command, []string) { started = true },
	}
	root.AddCommand(serveCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "thumbcache:", err)
		if !started {
			fmt.Fprintln(os.Stderr, "See 'thumbcache --help'.")
			os.Exit(2) // misuse
		}
		os.Exit(1)
	}
}
