package main

import (
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

func getCommand(c *console) *cobra.Command {
	var (
		out    string
		req    thumbcache.Request
		asJSON bool
	)
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
  thumbcache get photo.heic -o small.png --json
    {"file": "photo.heic", "output": "small.png", "type": "image/png", "width": 300, "height": 200, "bytes": 54321}`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case out == "":
				return usageError{errors.New("-o is required, for example '-o cover.jpg' or '-o -'")}
			case out == "-" && asJSON:
				return usageError{errors.New("-o - and --json cannot be combined, because both write to standard output")}
			case out == "-" && c.outIsTerminal:
				return usageError{errors.New("refusing to write a picture to a terminal; use '-o FILE' or a pipe")}
			case req.Size < 0:
				return usageError{errors.New("--size must not be negative")}
			}
			if !cmd.Flags().Changed("format") {
				switch ext := strings.ToLower(filepath.Ext(out)); {
				case ext == ".png":
					req.Format = thumbcache.PNG
				case ext != ".jpg" && ext != ".jpeg" && out != "-":
					return usageError{fmt.Errorf("--format is required, because %s does not end in .jpg or .png", quoteName(out))}
				}
			}
			t, err := makeOne(cmd.Context(), args[0], req)
			if err != nil {
				return err
			}
			if out == "-" {
				_, err = c.out.Write(t.Data)
				return err
			}
			if err := writeAtomically(out, args[0], t.Data); err != nil {
				return fmt.Errorf("%s: %s", quoteName(out), describeError(err))
			}
			m := getResult{args[0], out, t.ContentType, t.Width, t.Height, len(t.Data)}
			if asJSON {
				return c.writeJSON(m)
			}
			fmt.Fprintf(c.out, "%s: %s, %d x %d, %s\n", quoteName(out), m.Type, m.Width, m.Height, formatBytes(int64(m.Bytes)))
			return nil
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "file to write; - is standard output")
	cmd.Flags().IntVar(&req.Size, "size", 300, "longest edge in pixels; 0 keeps the original size")
	addChoiceFlag(cmd, &req.Fit, "fit", fits, "contain: the whole picture; cover: a square cropped from its center")
	addChoiceFlag(cmd, &req.Format, "format", formats, "output format (default: by the extension of OUTPUT, or jpeg)")
	cmd.Flags().Lookup("format").DefValue = "" // the usage describes the default
	addJSONFlag(cmd, &asJSON)
	return cmd
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
		FolderArt: folderArt,
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
