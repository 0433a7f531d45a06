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

// A verifyResult lists the bad files of a thumbnail folder.
type verifyResult struct {
	Dir          string    `json:"dir"`
	Good         int64     `json:"good"`
	OtherVersion int64     `json:"other_version"` // files in another version of the format; they are not damaged
	Bad          []badFile `json:"bad"`
	Unreadable   []badFile `json:"unreadable"`    // files that could not be read, and so not be checked
	ReadFailures uint64    `json:"read_failures"` // folders that could not be read
	Interrupted  bool      `json:"interrupted"`
}

type badFile struct {
	File    string `json:"file"` // relative to DIR
	Why     string `json:"why"`
	Removed bool   `json:"removed"`
}

func verifyCommand(c *console) *cobra.Command {
	var asJSON, repair bool
	cmd := &cobra.Command{
		Use:   "verify DIR",
		Short: "Check every file in a thumbnail folder for damage",
		Long: "Read every file in DIR, and check that it is complete, that its checksum is right\n" +
			"and that its content matches its name.\n\n" +
			"With --repair, bad files are removed. This is safe: a cache never serves a bad\n" +
			"file, and makes a missing thumbnail again on the next request. Files written by\n" +
			"another version of thumbcache in another format are counted and kept.\n\n" +
			"The exit code is 1 if bad or unreadable files remain.",
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

// verify checks the files of the thumbnail folder dir. It returns an error if a bad or unreadable file remains.
func verify(ctx context.Context, c *console, dir string, repair, asJSON bool) error {
	s, err := openStore(dir)
	if err != nil {
		return err
	}
	defer s.Close()
	v := verifyResult{Dir: dir, Bad: []badFile{}, Unreadable: []badFile{}}
	var checkedFiles, checkedBytes atomic.Int64
	total := s.Usage().Bytes
	p := c.startProgress(0, func(width int) string {
		text := "Checked " + countFiles(checkedFiles.Load())
		if total > 0 { // 0 if the folder has no valid usage file
			text = formatBar(width, checkedBytes.Load(), total) + "  " + text
		}
		return text
	})
	err = s.Walk(ctx, false, func(f store.File) error {
		if f.Temp {
			return ctx.Err()
		}
		_, readErr := s.Read(f)
		checkedFiles.Add(1)
		checkedBytes.Add(f.Size)
		if line := v.add(s, f, readErr, repair); line != "" && !asJSON {
			p.printLine(c.out, line)
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
	case v.countRemoved() < len(v.Bad) || len(v.Unreadable) > 0:
		return errReported
	}
	return nil
}

// add records the result of reading f, and removes f if it is bad and repair is set. It returns the line to print about f,
// or "" if f is not bad.
func (v *verifyResult) add(s *store.Store, f store.File, readErr error, repair bool) string {
	switch {
	case readErr == nil:
		v.Good++
		return ""
	case errors.Is(readErr, store.ErrOtherVersion):
		v.OtherVersion++
		return ""
	case errors.Is(readErr, fs.ErrNotExist): // another process has removed it meanwhile
		return ""
	}
	bad := badFile{File: f.Folder + "/" + f.Name, Why: readErr.Error()}
	line := bad.File + ": "
	if _, isUnreadable := errors.AsType[syscall.Errno](readErr); isUnreadable {
		v.Unreadable = append(v.Unreadable, bad)
		return line + "cannot be read: " + describeError(readErr)
	}
	line += escapeUnprintable(bad.Why)
	if repair {
		if err := s.RemoveFile(f); err == nil {
			bad.Removed = true
			line += ", removed"
		} else {
			line += ", cannot be removed: " + describeError(err)
		}
	}
	v.Bad = append(v.Bad, bad)
	return line
}

// countRemoved returns how many bad files have been removed.
func (v *verifyResult) countRemoved() (n int) {
	for _, b := range v.Bad {
		if b.Removed {
			n++
		}
	}
	return n
}

func (v *verifyResult) print(c *console) {
	if v.Interrupted {
		fmt.Fprint(c.out, "So far: ")
	}
	fmt.Fprintf(c.out, "%s good", countFiles(v.Good))
	switch bad, removed := len(v.Bad), v.countRemoved(); {
	case bad == 0:
		fmt.Fprint(c.out, ", 0 bad")
	case removed == bad:
		fmt.Fprintf(c.out, ", %s bad (removed)", formatCount(bad))
	case removed > 0:
		fmt.Fprintf(c.out, ", %s bad (%s of them removed)", formatCount(bad), formatCount(removed))
	default:
		fmt.Fprintf(c.out, ", %s bad (use --repair to remove them)", formatCount(bad))
	}
	if n := len(v.Unreadable); n > 0 {
		fmt.Fprintf(c.out, ", %s unreadable", formatCount(n))
	}
	if v.OtherVersion > 0 {
		fmt.Fprintf(c.out, ", %s in another format version", formatCount(v.OtherVersion))
	}
	fmt.Fprintln(c.out)
}
