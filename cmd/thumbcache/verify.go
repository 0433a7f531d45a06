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

// A verifyResult lists the bad files of a thumbnail folder, and the bad values of a shared tier.
type verifyResult struct {
	Dir          string    `json:"dir"`
	Good         int64     `json:"good"`
	OtherVersion int64     `json:"other_version"` // files in another version of the format; they are not damaged
	Bad          []badFile `json:"bad"`
	Unreadable   []badFile `json:"unreadable"`    // files that could not be read, and so not be checked
	ReadFailures uint64    `json:"read_failures"` // folders that could not be read
	Interrupted  bool      `json:"interrupted"`

	Shared *sharedVerifyResult `json:"shared,omitempty"`
}

// A sharedVerifyResult lists the bad values of a shared tier.
type sharedVerifyResult struct {
	Engine       string    `json:"engine"`
	Good         int64     `json:"good"`
	OtherVersion int64     `json:"other_version"`
	Bad          []badFile `json:"bad"`
}

type badFile struct {
	File    string `json:"file"` // relative to DIR; in a shared tier, the hash of the source and the variant
	Why     string `json:"why"`
	Removed bool   `json:"removed"`
}

// verifyOptions are the flags of verify.
type verifyOptions struct {
	repair, asJSON bool
	shared         sharedFlags
}

func verifyCommand(c *console) *cobra.Command {
	var o verifyOptions
	cmd := &cobra.Command{
		Use:   "verify [DIR]",
		Short: "Check every file in a thumbnail folder for damage",
		Long: "Read every file in DIR, and check that it is complete, that its checksum is right\n" +
			"and that its content matches its name.\n\n" +
			"With --repair, bad files are removed. This is safe: a cache never serves a bad\n" +
			"file, and makes a missing thumbnail again on the next request. Files written by\n" +
			"another version of thumbcache in another format are counted and kept.\n\n" +
			"With --shared, it also reads and checks every value of the shared tier, and DIR is\n" +
			"optional. There, --repair removes all values of a source that has a bad one.\n\n" +
			"The exit code is 1 if bad or unreadable files remain.",
		Example: `  thumbcache verify /var/cache/thumbs
  thumbcache verify --repair /var/cache/thumbs
  thumbcache verify --shared redis://cache.example.org:6379/0
  thumbcache verify --json /var/cache/thumbs --shared redis://cache.example.org:6379/0
    {"dir": "/var/cache/thumbs", "good": 1200, "other_version": 0,
     "bad": [{"file": "0a/0a1b..._300.jpg", "why": "wrong checksum", "removed": false}],
     "unreadable": [], "read_failures": 0, "interrupted": false,
     "shared": {"engine": "redis at cache.example.org:6379/0", "good": 1200, "other_version": 0, "bad": []}}`,
		Args:              o.shared.dirOptional(1),
		ValidArgsFunction: completeFolderArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			return verify(cmd.Context(), c, args, o)
		},
	}
	cmd.Flags().BoolVar(&o.repair, "repair", false, "remove bad files")
	o.shared.add(cmd)
	addJSONFlag(cmd, &o.asJSON)
	return cmd
}

// verify checks what is stored. It returns an error if a bad or unreadable file remains.
func verify(ctx context.Context, c *console, args []string, o verifyOptions) error {
	tier, err := o.shared.open()
	if err != nil {
		return err
	}
	defer tier.close()
	v := verifyResult{Bad: []badFile{}, Unreadable: []badFile{}}
	dir, hasDir, _ := cutDir(args, 0)
	if hasDir {
		if err = v.checkFolder(ctx, c, dir, o); v.Dir == "" { // nothing was checked
			return err
		}
	}
	if tier != nil {
		err = errors.Join(err, v.checkShared(ctx, c, tier, o))
	}
	v.Interrupted = ctx.Err() != nil
	if o.asJSON {
		err = errors.Join(err, c.writeJSON(v))
	} else {
		v.print(c)
	}
	switch {
	case err != nil:
		return err
	case v.ReadFailures > 0:
		return fmt.Errorf("%s could not be read", pluralize(int64(v.ReadFailures), "folder", "folders"))
	case countRemoved(v.Bad) < len(v.Bad) || len(v.Unreadable) > 0, v.Shared != nil && countRemoved(v.Shared.Bad) < len(v.Shared.Bad):
		return errReported
	}
	return nil
}

// checkFolder checks the files of the thumbnail folder dir. It sets Dir if that is a thumbnail folder.
func (v *verifyResult) checkFolder(ctx context.Context, c *console, dir string, o verifyOptions) error {
	s, err := openStore(dir)
	if err != nil {
		return err
	}
	defer s.Close()
	v.Dir = dir
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
		if line := v.add(s, f, readErr, o.repair); line != "" && !o.asJSON {
			p.printLine(c.out, line)
		}
		return ctx.Err()
	})
	p.finish()
	v.ReadFailures = s.Errors.Load()
	return err
}

// checkShared checks the values of a shared tier.
func (v *verifyResult) checkShared(ctx context.Context, c *console, t *sharedTier, o verifyOptions) error {
	values := t.engines[0]
	v.Shared = &sharedVerifyResult{Engine: values.name, Bad: []badFile{}}
	var checked atomic.Int64
	p := c.startProgress(0, func(int) string { return "Checked " + pluralize(checked.Load(), "value", "values") })
	defer p.finish()
	return values.wrap(values.store.Walk(ctx, func(source, variant string, sealed []byte) error {
		checked.Add(1)
		err := checkValue(source, variant, sealed)
		switch {
		case err == nil:
			v.Shared.Good++
			return nil
		case errors.Is(err, store.ErrOtherVersion):
			v.Shared.OtherVersion++
			return nil
		}
		bad := badFile{File: source + "/" + variant, Why: err.Error()}
		remove := func() error { return t.Remove(ctx, source) }
		if line := bad.describe(o.repair, remove); !o.asJSON {
			p.printLine(c.out, line)
		}
		v.Shared.Bad = append(v.Shared.Bad, bad)
		return nil
	}))
}

// checkValue returns an error if a value of a shared tier is damaged, or is that of another source or variant.
func checkValue(source, variant string, sealed []byte) error {
	if sealed == nil {
		return errors.New("larger than 1 MiB")
	}
	e, err := store.Unseal(sealed, &store.Key{})
	if err != nil {
		return err
	}
	if store.Hash(e.Key.Provider, e.Key.Path) != source || e.Variant() != variant {
		return errors.New("another value's content")
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
	if _, isUnreadable := errors.AsType[syscall.Errno](readErr); isUnreadable {
		v.Unreadable = append(v.Unreadable, bad)
		return bad.File + ": cannot be read: " + describeError(readErr)
	}
	line := bad.describe(repair, func() error { return s.RemoveFile(f) })
	v.Bad = append(v.Bad, bad)
	return line
}

// describe returns the line to print about a bad file. If repair is set, it removes the file first.
func (b *badFile) describe(repair bool, remove func() error) string {
	line := b.File + ": " + escapeUnprintable(b.Why)
	if !repair {
		return line
	}
	if err := remove(); err != nil {
		return line + ", cannot be removed: " + describeError(err)
	}
	b.Removed = true
	return line + ", removed"
}

// countRemoved returns how many bad files have been removed.
func countRemoved(bad []badFile) (n int) {
	for _, b := range bad {
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
	if v.Dir != "" {
		fmt.Fprint(c.out, countFiles(v.Good)+" good")
		printBad(c, v.Bad)
		if n := len(v.Unreadable); n > 0 {
			fmt.Fprintf(c.out, ", %s unreadable", formatCount(n))
		}
		printOtherVersion(c, v.OtherVersion)
	}
	if s := v.Shared; s != nil {
		fmt.Fprintf(c.out, "Shared: %s good", pluralize(s.Good, "value", "values"))
		printBad(c, s.Bad)
		printOtherVersion(c, s.OtherVersion)
	}
}

// printBad continues a line with the number of bad files.
func printBad(c *console, files []badFile) {
	switch bad, removed := len(files), countRemoved(files); {
	case bad == 0:
		fmt.Fprint(c.out, ", 0 bad")
	case removed == bad:
		fmt.Fprintf(c.out, ", %s bad (removed)", formatCount(bad))
	case removed > 0:
		fmt.Fprintf(c.out, ", %s bad (%s of them removed)", formatCount(bad), formatCount(removed))
	default:
		fmt.Fprintf(c.out, ", %s bad (use --repair to remove them)", formatCount(bad))
	}
}

// printOtherVersion ends a line, with the number of files in another version of the format if there are any.
func printOtherVersion(c *console, n int64) {
	if n > 0 {
		fmt.Fprintf(c.out, ", %s in another format version", formatCount(n))
	}
	fmt.Fprintln(c.out)
}
