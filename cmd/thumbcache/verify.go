package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/thumbcache/thumbcache/internal/store"
)

// What verify finds.
type verifyResult struct {
	Dir          string    `json:"dir"`
	Good         int64     `json:"good"`
	OtherVersion int64     `json:"other_version"` // files of another version of the format, which are not damaged
	Bad          []badFile `json:"bad"`
	Unreadable   []badFile `json:"unreadable"`    // of which nothing is known
	ReadFailures uint64    `json:"read_failures"` // folders that could not be read
	Interrupted  bool      `json:"interrupted"`
}

type badFile struct {
	File    string `json:"file"` // below DIR
	Why     string `json:"why"`
	Removed bool   `json:"removed"`
}

func verifyCommand(c *console) *cobra.Command {
	var asJSON, repair bool
	cmd := &cobra.Command{
		Use:   "verify DIR",
		Short: "Read every file of a folder of thumbnails and check it",
		Long: "Read every file of a folder of thumbnails, and check that it is whole and what its name says. With --repair those that\n" +
			"are not are removed, which costs no more than making them again. A cache never serves a bad file, repaired or not.\n" +
			"Files that another version of thumbcache wrote in another format are counted and left alone.\n\n" +
			"The exit code is 1 if there are bad files left.",
		Example: `  thumbcache verify /var/cache/thumbs
  thumbcache verify --repair /var/cache/thumbs
  thumbcache verify --json /var/cache/thumbs
    {"dir": "/var/cache/thumbs", "good": 1200, "other_version": 0,
     "bad": [{"file": "0a/0a1b..._300.jpg", "why": "wrong checksum", "removed": false}],
     "unreadable": [], "read_failures": 0, "interrupted": false}`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeFolderArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			return verify(cmd.Context(), c, args[0], repair, asJSON)
		},
	}
	cmd.Flags().BoolVar(&repair, "repair", false, "remove bad files")
	addJSONFlag(cmd, &asJSON)
	return cmd
}

func verify(ctx context.Context, c *console, dir string, repair, asJSON bool) error {
	s, err := openStore(dir)
	if err != nil {
		return err
	}
	defer s.Close()
	v := verifyResult{Dir: dir, Bad: []badFile{}, Unreadable: []badFile{}}
	var seen, read atomic.Int64
	all := s.Usage().Bytes
	p := c.startProgress(0, func(width int) string {
		text := "Checked " + countFiles(seen.Load())
		if all > 0 { // it is not known if there is no account
			text = formatBar(width, read.Load(), all) + "  " + text
		}
		return text
	})
	left := 0
	err = s.Walk(ctx, false, func(f store.File) error {
		if f.Temp {
			return ctx.Err()
		}
		_, why := s.Read(f)
		seen.Add(1)
		read.Add(f.Size)
		switch {
		case why == nil:
			v.Good++
		case errors.Is(why, store.ErrOtherVersion):
			v.OtherVersion++
		case errors.Is(why, fs.ErrNotExist): // somebody has removed it meanwhile
		default:
			bad := badFile{File: f.Folder + "/" + f.Name, Why: why.Error()}
			line := bad.File + ": "
			list := &v.Bad
			if _, unread := errors.AsType[syscall.Errno](why); unread {
				list = &v.Unreadable
				line += "cannot be read: " + describeError(why)
			} else {
				line += escapeUnprintable(bad.Why)
				if repair {
					err := s.RemoveFile(f)
					if bad.Removed = err == nil; bad.Removed {
						line += ", removed"
					} else {
						line += ", cannot be removed: " + describeError(err)
					}
				}
			}
			if !bad.Removed {
				left++
			}
			*list = append(*list, bad)
			if !asJSON {
				p.printLine(c.out, line)
			}
		}
		return ctx.Err()
	})
	p.finish()
	v.ReadFailures, v.Interrupted = s.Errors.Load(), ctx.Err() != nil
	if asJSON {
		err = errors.Join(err, c.writeJSON(v))
	} else {
		v.print(c)
	}
	switch {
	case err != nil:
		return err
	case v.ReadFailures > 0:
		return fmt.Errorf("%s could not be read", pluralize(int64(v.ReadFailures), "folder", "folders"))
	case left > 0:
		return errReported
	}
	return nil
}

func (v *verifyResult) print(c *console) {
	if v.Interrupted {
		fmt.Fprint(c.out, "So far: ")
	}
	fmt.Fprintf(c.out, "%s in order", countFiles(v.Good))
	removed := 0
	for _, b := range v.Bad {
		if b.Removed {
			removed++
		}
	}
	switch bad := len(v.Bad); {
	case bad == 0:
		fmt.Fprint(c.out, ", none bad")
	case removed == bad:
		fmt.Fprintf(c.out, ", %s bad and removed", formatCount(bad))
	case removed > 0:
		fmt.Fprintf(c.out, ", %s bad, %s of them removed", formatCount(bad), formatCount(removed))
	default:
		fmt.Fprintf(c.out, ", %s bad (--repair removes what is bad)", formatCount(bad))
	}
	if n := len(v.Unreadable); n > 0 {
		fmt.Fprintf(c.out, ", %s unreadable", formatCount(n))
	}
	if v.OtherVersion > 0 {
		fmt.Fprintf(c.out, ", %s of another version of the format", formatCount(v.OtherVersion))
	}
	fmt.Fprintln(c.out)
}
