package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/thumbcache/thumbcache"
	"github.com/thumbcache/thumbcache/collage"
)

// maxOnSheet is how many pictures a contact sheet shows.
const maxOnSheet = 1000

// sheetOptions are the flags of sheet.
type sheetOptions struct {
	out           string
	columns, size int
}

func sheetCommand(c *console) *cobra.Command {
	var o sheetOptions
	cmd := &cobra.Command{
		Use:   "sheet FOLDER -o OUTPUT",
		Short: "Make a contact sheet of the images in a folder",
		Long: "Make one JPEG of all images in FOLDER and below, in rows and by name, without using a\n" +
			"thumbnail folder. Hidden files are left out, and so are files that are not named like\n" +
			fmt.Sprintf("an image. There is room for %s images.\n\n", formatCount(maxOnSheet)) +
			"OUTPUT is replaced only when the sheet is complete. \"-\" writes to standard output.\n\n" +
			"The exit code is 1 if there is no image, or if one of them could not be read.",
		Example: `  thumbcache sheet ~/Pictures/2024 -o sheet.jpg
  thumbcache sheet . -o - --columns 10 --size 120 | feh -`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeFolderArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(c); err != nil {
				return err
			}
			return sheet(cmd.Context(), c, args, o)
		},
	}
	cmd.Flags().StringVarP(&o.out, "output", "o", "", "file to write; - is standard output")
	cmd.Flags().IntVar(&o.columns, "columns", 6, "images in a row")
	cmd.Flags().IntVar(&o.size, "size", 200, "longest edge of an image in pixels")
	return cmd
}

func (o *sheetOptions) check(c *console) error {
	ext := strings.ToLower(filepath.Ext(o.out))
	switch {
	case o.out == "":
		return usageError{errors.New("-o is required, for example '-o sheet.jpg' or '-o -'")}
	case o.out == "-" && c.outIsTerminal:
		return usageError{errors.New("refusing to write a picture to a terminal; use '-o FILE' or a pipe")}
	case o.out != "-" && ext != ".jpg" && ext != ".jpeg":
		return usageError{fmt.Errorf("%s does not end in .jpg", quoteName(o.out))}
	case o.columns < 1 || o.columns > 100:
		return usageError{errors.New("--columns must be between 1 and 100")}
	case o.size < 16 || o.size > 2048:
		return usageError{errors.New("--size must be between 16 and 2048")}
	}
	return nil
}

// sheet writes a contact sheet of a folder to o.out, and says on standard output what it shows unless it was written there.
func sheet(ctx context.Context, c *console, args []string, o sheetOptions) error {
	folder, err := absFolder(args)
	if err != nil {
		return err
	}
	failures := 0
	images, more := findImages(ctx, folder, o.out, func(name string, err error) {
		failures++
		fmt.Fprintf(c.err, "%s: %s\n", quoteName(name), describeError(err))
	})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case len(images) == 0:
		return fmt.Errorf("%s: no images", quoteName(folder))
	case more:
		fmt.Fprintf(c.err, "only the first %s are shown\n", countImages(maxOnSheet))
	}
	data, failed, err := drawSheet(ctx, c, folder, images, o)
	if err != nil {
		return err
	}
	if o.out == "-" {
		_, err = c.out.Write(data)
	} else if err = writeAtomically(o.out, folder, data); err != nil {
		err = fmt.Errorf("%s: %s", quoteName(o.out), describeError(err))
	} else {
		fmt.Fprintf(c.out, "%s: %s, %s\n", quoteName(o.out), countImages(len(images)-failed), formatBytes(int64(len(data))))
	}
	if err == nil && failures+failed > 0 {
		return errReported
	}
	return err
}

func countImages(n int) string { return pluralize(n, "image", "images") }

// drawSheet returns a contact sheet of images. It reports the progress, and the images that failed.
func drawSheet(ctx context.Context, c *console, folder string, images []thumbcache.Target, o sheetOptions) (data []byte, failed int, err error) {
	var done atomic.Int64
	cache, err := thumbcache.New(thumbcache.Config{
		Providers: map[string]thumbcache.Provider{providerName: thumbcache.Files(folder)},
		Observer: &thumbcache.Observer{
			Request: func(context.Context, thumbcache.Request, string, time.Duration, error) { done.Add(1) },
		},
	})
	if err != nil {
		return nil, 0, err
	}
	defer cache.Close()
	progress := c.startProgress(0, func(int) string { return formatCount(done.Load()) + " of " + countImages(len(images)) })
	defer progress.finish()
	data, err = collage.Sheet(ctx, cache, images, collage.SheetOptions{
		Columns: o.columns,
		Size:    o.size,
		Failed: func(image thumbcache.Target, err error) {
			failed++
			progress.printLine(c.err, quoteName(image.Path)+": "+describeError(err))
		},
	})
	switch {
	case errors.Is(err, thumbcache.ErrTooLarge) && failed == 0:
		err = errors.New("the sheet would be too large; use a smaller --size, or other --columns")
	case failed == len(images):
		err = fmt.Errorf("%s: no image can be read", quoteName(folder))
	}
	return data, failed, err
}

// findImages returns the images in a folder, and whether there are more than fit on a sheet. An older sheet at out is left out.
func findImages(ctx context.Context, folder, out string, failed func(name string, err error)) (images []thumbcache.Target, more bool) {
	old, err := os.Stat(out)
	if err != nil {
		old = nil
	}
	walkMedia(ctx, folder, func(name string) bool {
		if mediaKind(name) != "image" {
			return true
		}
		if old != nil {
			if info, err := os.Stat(filepath.Join(folder, filepath.FromSlash(name))); err == nil && os.SameFile(info, old) {
				return true
			}
		}
		if more = len(images) == maxOnSheet; more {
			return false
		}
		images = append(images, thumbcache.Target{Provider: providerName, Path: name})
		return true
	}, failed)
	return images, more
}
