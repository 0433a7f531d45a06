package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/thumbcache/thumbcache"
)

// A getResult describes the file that get has written.
type getResult struct {
	File   string `json:"file"`
	Output string `json:"output"`
	Type   string `json:"type"`
	Width  int    `json:"width"`
	Height int    `json:"height"`
	Bytes  int    `json:"bytes"`
}

// getOptions are the flags of get.
type getOptions struct {
	out    string
	size   string
	req    thumbcache.Request // without the source
	asJSON bool
}

func getCommand(c *console) *cobra.Command {
	var o getOptions
	cmd := &cobra.Command{
		Use:   "get FILE -o OUTPUT",
		Short: "Make a single thumbnail of a file",
		Long: "Make one thumbnail of a song, image or video, without using a thumbnail folder.\n\n" +
			"OUTPUT is replaced only when the new picture is complete. \"-\" writes to\n" +
			"standard output. The extension of OUTPUT selects the format, unless --format\n" +
			"is given.\n\n" +
			"If FILE is a folder, or a song without an embedded cover, get uses the cover\n" +
			"image in that folder, such as cover.jpg.",
		Example: `  thumbcache get song.flac -o cover.jpg
  thumbcache get film.mkv -o - --size 640 --fit cover | feh -
  thumbcache get portrait.jpg -o face.webp --size 300x200 --fit cover --focus 0.5,0.2
  thumbcache get photo.heic -o small.png --json
    {"file": "photo.heic", "output": "small.png", "type": "image/png", "width": 300, "height": 200, "bytes": 54321}`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(c); err != nil {
				return err
			}
			if !cmd.Flags().Changed("format") {
				if err := o.setFormatByExtension(); err != nil {
					return err
				}
			}
			return get(cmd.Context(), c, args[0], o)
		},
	}
	cmd.Flags().StringVarP(&o.out, "output", "o", "", "file to write; - is standard output")
	cmd.Flags().StringVar(&o.size, "size", "300", "longest edge in pixels, or a box such as 300x200; 0 keeps the original size")
	addChoiceFlag(cmd, &o.req.Fit, "fit", fits, "contain: the whole picture; cover: cropped to a square or the box; pad: the whole picture on a background")
	addFocusFlag(cmd, &o.req)
	cmd.Flags().StringVar(&o.req.Background, "background", "", "of pad: a color such as ffffff, blur, or transparent")
	addChoiceFlag(cmd, &o.req.Format, "format", formats, "output format (default: by the extension of OUTPUT, or jpeg)")
	cmd.Flags().Lookup("format").DefValue = "" // the usage describes the default
	addJSONFlag(cmd, &o.asJSON)
	return cmd
}

func (o *getOptions) check(c *console) error {
	switch {
	case o.out == "":
		return usageError{errors.New("-o is required, for example '-o cover.jpg' or '-o -'")}
	case o.out == "-" && o.asJSON:
		return usageError{errors.New("-o - and --json cannot be combined, because both write to standard output")}
	case o.out == "-" && c.outIsTerminal:
		return usageError{errors.New("refusing to write a picture to a terminal; use '-o FILE' or a pipe")}
	}
	return cmp.Or(parseSize(o.size, &o.req), checkFocus(&o.req))
}

func (o *getOptions) setFormatByExtension() error {
	switch ext := strings.ToLower(filepath.Ext(o.out)); {
	case ext == ".png":
		o.req.Format = thumbcache.PNG
	case ext == ".webp":
		o.req.Format = thumbcache.WebP
	case ext != ".jpg" && ext != ".jpeg" && o.out != "-":
		return usageError{fmt.Errorf("--format is required, because %s does not end in .jpg, .png or .webp", quoteName(o.out))}
	}
	return nil
}

// get writes a thumbnail of file to o.out, and describes it on standard output unless it was written there.
func get(ctx context.Context, c *console, file string, o getOptions) error {
	t, err := makeOne(ctx, file, o.req)
	if err != nil {
		return err
	}
	if o.out == "-" {
		_, err = c.out.Write(t.Data)
		return err
	}
	if err := writeAtomically(o.out, file, t.Data); err != nil {
		return fmt.Errorf("%s: %s", quoteName(o.out), describeError(err))
	}
	r := getResult{file, o.out, t.ContentType, t.Width, t.Height, len(t.Data)}
	if o.asJSON {
		return c.writeJSON(r)
	}
	fmt.Fprintf(c.out, "%s: %s, %d x %d, %s\n", quoteName(o.out), r.Type, r.Width, r.Height, formatBytes(int64(r.Bytes)))
	return nil
}

// makeOne returns a thumbnail of a file, or of a folder that contains a cover image.
func makeOne(ctx context.Context, file string, req thumbcache.Request) (*thumbcache.Thumbnail, error) {
	real, err := filepath.Abs(file)
	if err == nil {
		// thumbcache.Files refuses links that leave its folder. Here the user has named the link, so it is followed.
		real, err = filepath.EvalSymlinks(real)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %s", quoteName(file), describeError(err))
	}
	cache, err := thumbcache.New(thumbcache.Config{
		Providers: map[string]thumbcache.Provider{providerName: thumbcache.Files(filepath.Dir(real))},
		MaxSize:   -1,
	})
	if err != nil {
		return nil, err
	}
	defer cache.Close()
	req.Provider, req.Path = providerName, filepath.Base(real)
	t, err := cache.Do(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("%s: %s", quoteName(file), describeError(err))
	}
	return t, nil
}

// describeError returns the cause of err without the file, provider and operation that wrap it. The result is safe to
// print on a terminal.
func describeError(err error) string {
	if e, ok := errors.AsType[*thumbcache.Error](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	text := strings.ReplaceAll(err.Error(), "thumbcache: ", "")
	if errors.Is(err, thumbcache.ErrNoPicture) {
		text = strings.TrimSuffix(text, ": "+fs.ErrInvalid.Error()) // for a folder, whose open fails with ErrInvalid
	}
	return escapeUnprintable(text)
}

// writeAtomically writes data to a temporary file and renames it to name, so that other processes never read an
// incomplete file. It returns an error if name and source are the same file.
func writeAtomically(name, source string, data []byte) (err error) {
	if link, err := filepath.EvalSymlinks(name); err == nil {
		name = link // replace its target, not the link
	}
	if there, err := os.Stat(name); err == nil {
		if from, err := os.Stat(source); err == nil && os.SameFile(there, from) {
			return errors.New("output and input are the same file")
		}
		if !there.Mode().IsRegular() { // a device or a pipe cannot be replaced by a rename
			return os.WriteFile(name, data, 0o666)
		}
	}
	temp := filepath.Join(filepath.Dir(name), fmt.Sprintf(".thumbcache-%016x.tmp", rand.Uint64()))
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(temp, name)
	}
	if err != nil {
		os.Remove(temp)
	}
	return err
}
