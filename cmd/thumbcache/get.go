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

// What get has made.
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
		Short: "Make one thumbnail of one file",
		Long: "Make one thumbnail of a song, picture or video, without any folder of thumbnails. OUTPUT is written whole or not at\n" +
			"all; \"-\" is the standard output. Its extension says in which format, unless --format does.\n" +
			"Of a folder, or a song without a cover, it is the cover.jpg (or the like) there.",
		Example: `  thumbcache get song.flac -o cover.jpg
  thumbcache get film.mkv -o - --size 640 --fit cover | feh -
  thumbcache get photo.heic -o small.png --json
    {"file": "photo.heic", "output": "small.png", "type": "image/png", "width": 300, "height": 200, "bytes": 54321}`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case out == "":
				return usageError{errors.New("where to? -o is needed, as in '-o cover.jpg' or '-o -'")}
			case out == "-" && asJSON:
				return usageError{errors.New("the picture and JSON cannot both go to the standard output")}
			case out == "-" && c.outIsTerminal:
				return usageError{errors.New("a picture is nothing to write to a terminal: use '-o FILE', or a pipe")}
			case req.Size < 0:
				return usageError{errors.New("--size must not be negative")}
			}
			if !cmd.Flags().Changed("format") {
				switch ext := strings.ToLower(filepath.Ext(out)); {
				case ext == ".png":
					req.Format = thumbcache.PNG
				case ext != ".jpg" && ext != ".jpeg" && out != "-":
					return usageError{fmt.Errorf("which format? %s ends in neither .jpg nor .png, so --format is needed", quoteName(out))}
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
	cmd.Flags().StringVarP(&out, "output", "o", "", "where to write it; - is the standard output")
	cmd.Flags().IntVar(&req.Size, "size", 300, "longest edge in pixels; 0 is the original's")
	addChoiceFlag(cmd, &req.Fit, "fit", fits, "the whole picture, or its centre as a square")
	addChoiceFlag(cmd, &req.Format, "format", formats, "by default what the extension of OUTPUT says, else jpeg")
	addJSONFlag(cmd, &asJSON)
	return cmd
}

// getOne makes a thumbnail of a file, or of a folder that has a picture.
func makeOne(ctx context.Context, file string, req thumbcache.Request) (*thumbcache.Thumbnail, error) {
	real, err := filepath.Abs(file)
	if err == nil {
		// A provider of files refuses links that lead out of its folder. Here it is the user who names one.
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

// reason tells what went wrong, without naming the file or the step.
func describeError(err error) string {
	if e, ok := errors.AsType[*thumbcache.Error](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	text := strings.ReplaceAll(err.Error(), "thumbcache: ", "")
	if errors.Is(err, thumbcache.ErrNoPicture) {
		text = strings.TrimSuffix(text, ": "+fs.ErrInvalid.Error()) // what a folder is, as media
	}
	return escapeUnprintable(text)
}

// writeWhole writes a file in one step, as everybody else sees it. It refuses to replace source.
func writeAtomically(name, source string, data []byte) (err error) {
	if link, err := filepath.EvalSymlinks(name); err == nil {
		name = link // which stays a link
	}
	if there, err := os.Stat(name); err == nil {
		if from, err := os.Stat(source); err == nil && os.SameFile(there, from) {
			return errors.New("that is the file itself")
		}
		if !there.Mode().IsRegular() { // a device or a pipe: there is nothing to be replaced
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
