package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/thumbcache/thumbcache"
	"github.com/thumbcache/thumbcache/internal/readfile"
	"github.com/thumbcache/thumbcache/internal/store"
)

// explainOptions are the flags of explain.
type explainOptions struct {
	fit      thumbcache.Fit
	format   thumbcache.Format
	media    string
	quality  int
	maxSize  int
	failures time.Duration
	asJSON   bool
}

// An explanation is all that can be told of one thumbnail.
type explainResult struct {
	Provider  string      `json:"provider,omitempty"`
	Path      string      `json:"path,omitempty"`
	Thumbnail *fileFacts  `json:"thumbnail,omitempty"`  // the file of the thumbnail
	NoPicture *fileFacts  `json:"no_picture,omitempty"` // the note that there is no picture, if there is one
	Others    []string    `json:"others,omitempty"`     // more files of the same source
	Media     *mediaFacts `json:"media,omitempty"`      // what --media finds
}

// fileFacts is what is to be told of one file.
type fileFacts struct {
	File    string      `json:"file"`
	Stored  bool        `json:"stored"`
	Bytes   int64       `json:"bytes,omitempty"`
	Used    *time.Time  `json:"used,omitempty"`
	Damage  string      `json:"damage,omitempty"` // why the file says nothing
	Content *entryFacts `json:"says,omitempty"`
	Usable  bool        `json:"good"`              // a cache uses it, as far as is known
	WhyNot  []string    `json:"why_not,omitempty"` // if it does not

	entry *store.Entry
}

// entryFacts is what a file says of itself.
type entryFacts struct {
	Provider string      `json:"provider"`
	Path     string      `json:"path"`
	Holds    string      `json:"holds"` // picture, or why there is none
	Kind     *kind       `json:"kind,omitempty"`
	Width    int         `json:"width,omitempty"`
	Height   int         `json:"height,omitempty"`
	Pipeline uint32      `json:"pipeline"`
	Quality  int         `json:"quality,omitempty"`
	Limit    int         `json:"limit,omitempty"`
	Made     time.Time   `json:"made"`
	FFmpeg   string      `json:"ffmpeg,omitempty"`
	Version  string      `json:"version,omitempty"`
	Source   *stampFacts `json:"source"`
}

// stampFacts is a state of the source.
type stampFacts struct {
	Size    int64     `json:"size"`
	ModTime time.Time `json:"mod_time"`
	Tag     string    `json:"tag,omitempty"`
}

// mediaFact is what there is at the source now.
type mediaFacts struct {
	Error  string       `json:"error,omitempty"` // why there is no thumbnail
	Width  int          `json:"width,omitempty"` // of the thumbnail
	Height int          `json:"height,omitempty"`
	Bytes  int          `json:"bytes,omitempty"`
	Source *stampFacts  `json:"source,omitempty"`
	Stages []stageFacts `json:"stages"`

	isGone bool // for sure
	entry  *store.Entry
}

type stageFacts struct {
	Stage   string  `json:"stage"`
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error,omitempty"`
}

func explainCommand(c *console) *cobra.Command {
	var o explainOptions
	cmd := &cobra.Command{
		Use:   "explain [DIR] PROVIDER PATH SIZE | FILE",
		Short: "Tell what is stored of one thumbnail, and whether it is used",
		Long: "Tell what is stored of one thumbnail in a folder of thumbnails: of which source, in which state of it, made how and\n" +
			"when, and why it would or would not be used. With --media, the folder that PROVIDER serves, the source is looked at\n" +
			"too, and its picture is extracted once more to tell what is found and how long each step takes; DIR may be left out\n" +
			"then if it is where 'thumbcache serve' keeps the thumbnails of that folder.\n" +
			"Of a single FILE it tells what that says of itself.\n\n" +
			"A server with a Quality, MaxSize or FailureTTL of its own is explained with --quality, --max-size and --failure-ttl;\n" +
			"one with Sizes stores only those.",
		Example: `  thumbcache explain /var/cache/thumbs library "Artist/01.flac" 320
  thumbcache explain /var/cache/thumbs library "Artist/01.flac" 320 --fit cover --media ~/Music
  thumbcache explain library "Artist/01.flac" 320 --media ~/Music
  thumbcache explain /var/cache/thumbs/0a/0a1b..._320.jpg
  thumbcache explain /var/cache/thumbs library "Artist/01.flac" 320 --json
    {"provider": "library", "path": "Artist/01.flac",
     "thumbnail": {"file": "0a/0a1b..._320.jpg", "stored": true, "bytes": 12345, "used": "2026-11-23T12:00:00Z",
       "says": {"provider": "library", "path": "Artist/01.flac", "holds": "picture",
         "kind": {"size": 320, "fit": "contain", "format": "jpeg"}, "width": 320, "height": 320, "pipeline": 1,
         "quality": 85, "made": "2026-11-23T12:00:00Z", "source": {"size": 5000000, "mod_time": "2026-01-02T03:04:05.6Z"}},
       "good": false, "why_not": ["the source has changed"]},
     "media": {"width": 320, "height": 320, "bytes": 12000, "source": {"size": 5000001, "mod_time": "2026-11-23T12:10:00Z"},
       "stages": [{"stage": "extract", "seconds": 0.002}]}}`,
		Args: func(_ *cobra.Command, args []string) error {
			switch n := len(args); {
			case n != 1 && n != 3 && n != 4:
				return fmt.Errorf("it takes DIR PROVIDER PATH SIZE, or FILE; there are %d arguments", n)
			case n == 3 && o.media == "":
				return errors.New("without DIR it takes --media, the folder that is served")
			}
			return nil
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return nil, cobra.ShellCompDirectiveDefault // a folder or a file
			}
			return completeSourceArgs(cmd, args, begun)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			x, err := explain(cmd.Context(), args, o)
			if err != nil {
				return err
			}
			if o.asJSON {
				return c.writeJSON(x)
			}
			x.print(c, time.Now())
			return nil
		},
	}
	addChoiceFlag(cmd, &o.fit, "fit", fits, "as requested")
	addChoiceFlag(cmd, &o.format, "format", formats, "as requested")
	cmd.Flags().StringVar(&o.media, "media", "", "folder that PROVIDER serves")
	cmd.Flags().IntVar(&o.quality, "quality", 85, "Config.Quality of the server")
	cmd.Flags().IntVar(&o.maxSize, "max-size", 2048, "Config.MaxSize of the server")
	cmd.Flags().DurationVar(&o.failures, "failure-ttl", 10*time.Minute, "Config.FailureTTL of the server")
	_ = cmd.MarkFlagDirname("media")
	addJSONFlag(cmd, &o.asJSON)
	return cmd
}

func explain(ctx context.Context, args []string, o explainOptions) (*explainResult, error) {
	if o.media != "" {
		folder, err := absFolder([]string{o.media})
		if err != nil {
			return nil, err
		}
		if len(args) == 3 {
			dir, err := defaultThumbnailDir(folder)
			if err != nil {
				return nil, err
			}
			args = slices.Insert(args, 0, dir)
		}
	}
	x, req, err := readStored(args, o)
	if err != nil || req.Provider == "" {
		return x, err
	}
	// What a cache of this build would store tells the recipe, by which any picture is made.
	recipe, err := makeTrial(ctx, pixelProvider{}, req, o)
	if err != nil {
		return nil, err
	}
	if recipe.entry == nil {
		return nil, errors.New("nothing can be stored in the folder for temporary files")
	}
	if o.media != "" {
		if x.Media, err = makeTrial(ctx, thumbcache.Files(o.media), req, o); err != nil {
			return nil, err
		}
	}
	for _, f := range []*fileFacts{x.Thumbnail, x.NoPicture} {
		if f != nil && f.entry != nil && f.Damage == "" {
			f.WhyNot = append(f.WhyNot, checkRecipe(f.entry, recipe.entry, o)...)
			f.WhyNot = append(f.WhyNot, checkSource(f.entry, x.Media)...)
			f.Usable = len(f.WhyNot) == 0
		}
	}
	return x, nil
}

// look reads what is stored, and returns the request that it would answer.
func readStored(args []string, o explainOptions) (*explainResult, thumbcache.Request, error) {
	if len(args) == 1 {
		return readStoredFile(args[0])
	}
	req := thumbcache.Request{Provider: args[1], Path: args[2], Fit: o.fit, Format: o.format}
	if err := checkProvider(req.Provider); err != nil {
		return nil, req, err
	}
	var err error
	if req.Size, err = strconv.Atoi(args[3]); err != nil || req.Size < 0 {
		return nil, req, usageError{fmt.Errorf("SIZE is a number of pixels, and %q is none", args[3])}
	}
	s, err := openStore(args[0])
	if err != nil {
		return nil, req, err
	}
	defer s.Close()
	stored, err := s.Source(req.Provider, req.Path)
	if err != nil {
		return nil, req, err
	}
	picture := store.FileOf(&store.Key{Provider: req.Provider, Path: req.Path, Size: req.Size, Cover: req.Fit == thumbcache.Cover, PNG: req.Format == thumbcache.PNG})
	none := store.FileOf(&store.Key{Provider: req.Provider, Path: req.Path, None: true})
	x := &explainResult{Provider: req.Provider, Path: req.Path, Thumbnail: &fileFacts{File: picture.Folder + "/" + picture.Name}}
	for _, f := range stored {
		switch {
		case f.Name == picture.Name:
			x.Thumbnail = factsOf(s, f)
		case f.Name == none.Name:
			x.NoPicture = factsOf(s, f)
		case !f.Temp:
			x.Others = append(x.Others, f.Folder+"/"+f.Name)
		}
	}
	slices.SortFunc(x.Others, func(a, b string) int {
		ka, _ := parseKind(a)
		kb, _ := parseKind(b)
		return cmp.Or(cmp.Compare(ka.Size, kb.Size), strings.Compare(a, b))
	})
	return x, req, nil
}

// maxSealed is more than any file of ours has.
const maxFileSize = 128 << 20

// lookAtFile is look for a single file, wherever it lies.
func readStoredFile(name string) (*explainResult, thumbcache.Request, error) {
	var req thumbcache.Request
	info, err := os.Stat(name)
	if err != nil {
		return nil, req, err
	}
	if info.IsDir() {
		return nil, req, usageError{fmt.Errorf("%s is a folder: which PROVIDER, PATH and SIZE?", quoteName(name))}
	}
	real, err := filepath.EvalSymlinks(name)
	if err != nil {
		return nil, req, err
	}
	data, used, err := readfile.Read(real, maxFileSize)
	if err != nil {
		return nil, req, fmt.Errorf("%s: %s", quoteName(name), describeError(err))
	}
	f := &fileFacts{File: name, Stored: true, Bytes: int64(len(data)), Used: &used}
	e, err := store.Unseal(data, &store.Key{})
	x := &explainResult{}
	f.setContent(e, err)
	if e == nil {
		x.Thumbnail = f
		return x, req, nil
	}
	if at := store.FileOf(&e.Key); at.Name != filepath.Base(real) || at.Folder != filepath.Base(filepath.Dir(real)) {
		f.WhyNot = append(f.WhyNot, "its place and name would be "+at.Folder+"/"+at.Name)
	}
	x.Provider, x.Path = e.Key.Provider, e.Key.Path
	req = thumbcache.Request{Provider: e.Key.Provider, Path: e.Key.Path, Size: e.Key.Size}
	if e.Key.Cover {
		req.Fit = thumbcache.Cover
	}
	if e.Key.PNG {
		req.Format = thumbcache.PNG
	}
	if e.Key.None {
		x.NoPicture, req.Size = f, 300
	} else {
		x.Thumbnail = f
	}
	return x, req, nil
}

func factsOf(s *store.Store, file store.File) *fileFacts {
	f := &fileFacts{File: file.Folder + "/" + file.Name, Stored: true, Bytes: file.Size, Used: &file.Used}
	f.setContent(s.Read(file))
	return f
}

// tell adds what reading the file came to.
func (f *fileFacts) setContent(e *store.Entry, err error) {
	f.entry = e
	switch {
	case errors.Is(err, store.ErrOtherVersion):
		f.Damage = "another version of thumbcache wrote it, in another format"
	case err != nil:
		f.Damage = err.Error()
	}
	if e == nil {
		return
	}
	f.Content = &entryFacts{
		Provider: e.Key.Provider,
		Path:     e.Key.Path,
		Holds:    "picture",
		Width:    e.Width,
		Height:   e.Height,
		Pipeline: e.Pipeline,
		Quality:  e.Quality,
		Limit:    e.Limit,
		Made:     e.Made,
		FFmpeg:   e.FFmpeg,
		Version:  e.Version,
		Source:   sourceOf(e),
	}
	if e.Key.None {
		f.Content.Holds = jsonCause(e.Cause)
	} else {
		f.Content.Kind = &kind{Size: e.Key.Size, Fit: fits[boolIndex(e.Key.Cover)], Format: formats[boolIndex(e.Key.PNG)]}
	}
}

func boolIndex(b bool) int {
	if b {
		return 1
	}
	return 0
}

func sourceOf(e *store.Entry) *stampFacts { return &stampFacts{e.Size, e.ModTime, e.Tag} }

// tryOut makes one thumbnail in a cache of its own, and tells what came of it and what that cache stored.
func makeTrial(ctx context.Context, media thumbcache.Provider, req thumbcache.Request, o explainOptions) (*mediaFacts, error) {
	dir, err := os.MkdirTemp("", "thumbcache-explain-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	m := &mediaFacts{Stages: []stageFacts{}}
	var mu sync.Mutex // protects m.Stages
	cache, err := thumbcache.New(thumbcache.Config{
		Providers: map[string]thumbcache.Provider{req.Provider: media},
		Dir:       dir,
		Quality:   o.quality,
		MaxSize:   o.maxSize,
		FolderArt: folderArt,
		Observer: &thumbcache.Observer{Stage: func(_, _, stage string, took time.Duration, err error) {
			if stage == "queue" || stage == "store" { // of this cache they tell nothing
				return
			}
			mu.Lock()
			defer mu.Unlock()
			f := stageFacts{Stage: stage, Seconds: took.Seconds()}
			if err != nil {
				f.Error = describeError(err)
			}
			m.Stages = append(m.Stages, f)
		}},
	})
	if err != nil {
		return nil, err
	}
	defer cache.Close()
	t, err := cache.Do(ctx, req)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	cache.Close() // now all is stored
	if err != nil {
		m.Error = describeError(err)
		m.isGone = errors.Is(err, fs.ErrNotExist)
	} else {
		m.Width, m.Height, m.Bytes = t.Width, t.Height, len(t.Data)
	}
	s, err := store.Existing(dir)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	stored, err := s.Source(req.Provider, req.Path)
	if err != nil {
		return nil, err
	}
	for _, f := range stored {
		if e, err := s.Read(f); err == nil {
			m.entry = e
			m.Source = sourceOf(e)
		}
	}
	if m.entry == nil && !m.isGone {
		if stamp, err := media.Stat(ctx, req.Path); err == nil {
			m.Source = &stampFacts{stamp.Size, stamp.ModTime, stamp.Tag}
		}
	}
	return m, nil
}

// A speck is a provider of one picture of one pixel.
type pixelProvider struct{}

func (pixelProvider) Stat(context.Context, string) (thumbcache.Stamp, error) {
	return thumbcache.Stamp{Size: 1}, nil
}

func (pixelProvider) Open(context.Context, string) (*thumbcache.Source, error) {
	var b bytes.Buffer
	err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 1, 1)))
	return thumbcache.BytesSource("speck", thumbcache.Stamp{Size: 1}, b.Bytes()), err
}

// outdated tells why a cache of this build would not use what is stored, whatever its source is like.
func checkRecipe(e, recipe *store.Entry, o explainOptions) (why []string) {
	if e.Pipeline != recipe.Pipeline {
		why = append(why, fmt.Sprintf("its recipe is version %d, and that of this build is %d", e.Pipeline, recipe.Pipeline))
	}
	if e.Key.None {
		switch age := time.Since(e.Made); {
		case age < 0:
			why = append(why, "it is from the future: a clock was wrong")
		case age >= o.failures:
			why = append(why, "it is older than "+o.failures.String()+" (FailureTTL), so the next request tries again")
		}
		return why
	}
	if e.Quality != recipe.Quality {
		why = append(why, fmt.Sprintf("it was made with quality %d, and would be made with %d (--quality)", e.Quality, recipe.Quality))
	}
	if e.Limit != recipe.Limit {
		why = append(why, fmt.Sprintf("it was limited to %d px, and would be to %d (--max-size)", e.Limit, recipe.Limit))
	}
	return why
}

// artTag begins what the state of the pictures beside a source adds to its tag, where they were considered.
const artTagSeparator = "\x00art"

// changed tells why the source is no longer the one that e is of.
func checkSource(e *store.Entry, m *mediaFacts) []string {
	switch {
	case m == nil || !m.isGone && m.Source == nil: // one that cannot be reached changes nothing
		return nil
	case m.isGone:
		return []string{"the source does not exist any more: " + m.Error}
	}
	now := *m.Source
	old, oldArt, art := strings.Cut(e.Tag, artTagSeparator)
	tag, newArt, artNow := strings.Cut(now.Tag, artTagSeparator)
	switch {
	case now.Size != e.Size || !now.ModTime.Equal(e.ModTime) || tag != old:
		return []string{"the source has changed"}
	case art && artNow && oldArt != newArt:
		return []string{"the pictures beside the source have changed"}
	case e.Key.None && m.entry != nil && m.entry.Key.None && m.entry.FFmpeg != e.FFmpeg:
		return []string{"it was noted with another ffmpeg than there is now"}
	}
	return nil
}
