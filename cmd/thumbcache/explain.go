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
	"maps"
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
	req      thumbcache.Request // without the source
	media    string
	quality  int
	maxSize  int
	failures time.Duration
	asJSON   bool
	shared   sharedFlags
}

// An explainResult describes one thumbnail: what is stored for it, and whether a cache would use that.
type explainResult struct {
	Provider  string     `json:"provider,omitempty"`
	Path      string     `json:"path,omitempty"`
	Thumbnail *fileFacts `json:"thumbnail,omitempty"`  // the file of the thumbnail
	NoPicture *fileFacts `json:"no_picture,omitempty"` // the record that there is no picture, if there is one
	Others    []string   `json:"others,omitempty"`     // other thumbnails of the same source

	// The same in the shared tier. File is the hash of the source, and the variant.
	SharedThumbnail *fileFacts `json:"shared_thumbnail,omitempty"`
	SharedNoPicture *fileFacts `json:"shared_no_picture,omitempty"`

	Media *mediaFacts `json:"media,omitempty"` // the result of --media
}

// fileFacts describes one stored file.
type fileFacts struct {
	File    string      `json:"file"`
	Stored  bool        `json:"stored"`
	Bytes   int64       `json:"bytes,omitempty"`
	Used    *time.Time  `json:"used,omitempty"`
	Damage  string      `json:"damage,omitempty"` // why the content of the file cannot be trusted
	Content *entryFacts `json:"says,omitempty"`
	Usable  bool        `json:"good"`              // a cache would serve it
	WhyNot  []string    `json:"why_not,omitempty"` // reasons if Usable is false

	entry    *store.Entry
	isShared bool // it is a value of the shared tier
}

// entryFacts is the metadata in a stored file.
type entryFacts struct {
	Provider string      `json:"provider"`
	Path     string      `json:"path"`
	Holds    string      `json:"holds"` // "picture", or the cause why there is none
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

// stampFacts is a thumbcache.Stamp in JSON: it identifies one version of a source.
type stampFacts struct {
	Size    int64     `json:"size"`
	ModTime time.Time `json:"mod_time"`
	Tag     string    `json:"tag,omitempty"`
}

// mediaFacts describes the source as it is now, and the result of making its thumbnail.
type mediaFacts struct {
	Error  string       `json:"error,omitempty"` // why there is no thumbnail
	Width  int          `json:"width,omitempty"` // of the thumbnail
	Height int          `json:"height,omitempty"`
	Bytes  int          `json:"bytes,omitempty"`
	Source *stampFacts  `json:"source,omitempty"`
	Stages []stageFacts `json:"stages"`

	isGone bool         // the source does not exist; false if it merely cannot be reached
	entry  *store.Entry // what a cache of this build stores now; nil if it stores nothing
}

// stageFacts is the duration of one step, as reported to thumbcache.Observer.Stage.
type stageFacts struct {
	Stage   string  `json:"stage"`
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error,omitempty"`
}

func explainCommand(c *console) *cobra.Command {
	var o explainOptions
	cmd := &cobra.Command{
		Use:   "explain [DIR] PROVIDER PATH SIZE | FILE",
		Short: "Show what is stored for a thumbnail, and whether it would be used",
		Long: "Show what is stored for a thumbnail: its source, when and how it was made, and\n" +
			"whether it would be used.\n\n" +
			"With --media, the folder that PROVIDER serves, explain also checks whether the\n" +
			"source has changed. It then makes the thumbnail again, without changing DIR, and\n" +
			"shows the result and the duration of each step. DIR may be omitted if it is the\n" +
			"default thumbnail folder of 'thumbcache serve' for that media folder.\n\n" +
			"With a single FILE of a thumbnail folder, explain shows the metadata in that file.\n\n" +
			"With --shared, explain also shows what the shared tier has for a server with the same\n" +
			"settings. DIR may then be omitted. With --media too, that is the default folder.\n\n" +
			"The page of 'thumbcache serve --negotiate' has thumbnails of --format webp. --profile\n" +
			"takes the place of SIZE.\n\n" +
			"If the server sets Quality, MaxSize or FailureTTL, pass the same values with\n" +
			"--quality, --max-size and --failure-ttl. If it sets Sizes, SIZE must be one of them.",
		Example: `  thumbcache explain /var/cache/thumbs library "Artist/01.flac" 320
  thumbcache explain /var/cache/thumbs library "Artist/01.flac" 320 --fit cover --media ~/Music
  thumbcache explain library "Artist/01.flac" 320 --media ~/Music
  thumbcache explain /var/cache/thumbs library "Artist/01.flac" --profile dlna-tn
  thumbcache explain /var/cache/thumbs/0a/0a1b..._320.jpg
  thumbcache explain library "Artist/01.flac" 320 --shared redis://cache.example.org:6379/0
  thumbcache explain /var/cache/thumbs library "Artist/01.flac" 320 --json
    {"provider": "library", "path": "Artist/01.flac",
     "thumbnail": {"file": "0a/0a1b..._320.jpg", "stored": true, "bytes": 12345, "used": "2026-11-23T12:00:00Z",
       "says": {"provider": "library", "path": "Artist/01.flac", "holds": "picture",
         "kind": {"size": 320, "fit": "contain", "format": "jpeg"}, "width": 320, "height": 320, "pipeline": 1,
         "quality": 85, "made": "2026-11-23T12:00:00Z", "source": {"size": 5000000, "mod_time": "2026-01-02T03:04:05.6Z"}},
       "good": false, "why_not": ["the source has changed"]},
     "media": {"width": 320, "height": 320, "bytes": 12000, "source": {"size": 5000001, "mod_time": "2026-11-23T12:10:00Z"},
       "stages": [{"stage": "extract", "seconds": 0.002}]}}`,
		Args:              o.checkArgs,
		ValidArgsFunction: completeExplainArgs,
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
	addChoiceFlag(cmd, &o.req.Fit, "fit", fits, "fit of the request")
	addFocusFlag(cmd, &o.req)
	cmd.Flags().StringVar(&o.req.Background, "background", "", "of pad: the background of the request")
	addChoiceFlag(cmd, &o.req.Format, "format", formats, "format of the request")
	cmd.Flags().StringVar(&o.req.Profile, "profile", "", "profile of the request, such as dlna-tn")
	profiles := slices.Sorted(maps.Keys(thumbcache.DLNAProfiles()))
	_ = cmd.RegisterFlagCompletionFunc("profile", cobra.FixedCompletions(profiles, cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().StringVar(&o.media, "media", "", "media folder that PROVIDER serves")
	cmd.Flags().IntVar(&o.quality, "quality", 85, "the server's Config.Quality")
	cmd.Flags().IntVar(&o.maxSize, "max-size", 2048, "the server's Config.MaxSize")
	cmd.Flags().DurationVar(&o.failures, "failure-ttl", 10*time.Minute, "the server's Config.FailureTTL")
	_ = cmd.MarkFlagDirname("media")
	o.shared.add(cmd)
	addJSONFlag(cmd, &o.asJSON)
	return cmd
}

func (o *explainOptions) checkArgs(_ *cobra.Command, args []string) error {
	n := len(args)
	if o.req.Profile != "" && n > 1 {
		n++ // there is no SIZE
	}
	switch {
	case n != 1 && n != 3 && n != 4:
		return fmt.Errorf("expected DIR PROVIDER PATH SIZE, or FILE, but got %d arguments", len(args))
	case n == 3 && o.media == "" && !o.shared.given():
		return errors.New("without DIR, --media or --shared is required")
	case n == 1 && o.shared.given():
		return errors.New("FILE and --shared cannot be combined")
	}
	return nil
}

func completeExplainArgs(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return nil, cobra.ShellCompDirectiveDefault // DIR or FILE
	}
	return completeSourceArgs(cmd, args, prefix)
}

// explain returns what is stored for the thumbnail that args name, and whether a cache would use it.
func explain(ctx context.Context, args []string, o explainOptions) (*explainResult, error) {
	var err error
	if o.media != "" {
		if o.media, err = absFolder([]string{o.media}); err != nil {
			return nil, err
		}
	}
	tier, err := o.shared.open()
	if err != nil {
		return nil, err
	}
	defer tier.close()
	x, req := &explainResult{}, o.req
	isFile := len(args) == 1
	if isFile {
		x, req, err = readStoredFile(args[0])
	} else {
		err = parseSource(args, &req)
	}
	if err != nil || req.Provider == "" {
		return x, err
	}
	// The key depends on the request only, and the settings are the same for every source. The file that a cache stores for a tiny
	// picture tells both.
	recipe, err := makeTrial(ctx, pixelProvider{}, req, o)
	if err != nil {
		return nil, err
	}
	if recipe.entry == nil {
		return nil, errors.New(cmp.Or(recipe.Error, "cannot store a thumbnail in the temporary folder of the system"))
	}
	if !isFile {
		if x, err = readStored(args, &recipe.entry.Key, o); err != nil {
			return nil, err
		}
	}
	if o.media != "" {
		if x.Media, err = makeTrial(ctx, thumbcache.Files(o.media), req, o); err != nil {
			return nil, err
		}
	}
	if tier != nil {
		if err := x.addShared(ctx, tier, recipe.entry); err != nil {
			return nil, err
		}
	}
	for _, f := range []*fileFacts{x.Thumbnail, x.NoPicture, x.SharedThumbnail, x.SharedNoPicture} {
		if f != nil && f.entry != nil && f.Damage == "" {
			f.WhyNot = append(f.WhyNot, checkRecipe(f.entry, recipe.entry, o)...)
			f.WhyNot = append(f.WhyNot, checkSource(f.entry, x.Media)...)
			f.Usable = len(f.WhyNot) == 0
		}
	}
	return x, nil
}

// cutSource returns the arguments without DIR: PROVIDER PATH SIZE, or PROVIDER PATH if the request has a profile.
func cutSource(args []string, req *thumbcache.Request) (dir string, hasDir bool, rest []string) {
	if req.Profile != "" {
		return cutDir(args, 2)
	}
	return cutDir(args, 3)
}

// parseSource sets the source of a request, and its size unless it has a profile.
func parseSource(args []string, req *thumbcache.Request) error {
	_, _, rest := cutSource(args, req)
	req.Provider, req.Path = rest[0], rest[1]
	if req.Profile == "" {
		if err := parseSize(rest[2], req); err != nil {
			return err
		}
	}
	return cmp.Or(checkProvider(req.Provider), checkFocus(req))
}

// readStored returns what is stored for a thumbnail.
func readStored(args []string, key *store.Key, o explainOptions) (*explainResult, error) {
	dir, hasDir, _ := cutSource(args, &o.req)
	if !hasDir && o.media != "" {
		var err error
		if dir, err = defaultThumbnailDir(o.media); err != nil {
			return nil, fmt.Errorf("%w; name DIR", err)
		}
		hasDir = !o.shared.given() || exists(dir)
	}
	x := &explainResult{Provider: key.Provider, Path: key.Path}
	if !hasDir {
		return x, nil
	}
	return x, x.addFolder(dir, key)
}

// parseSize sets the size or box of a request to s, such as 300 or 300x200.
func parseSize(s string, req *thumbcache.Request) error {
	width, height, isBox := strings.Cut(s, "x")
	w, err := strconv.Atoi(width)
	h, err2 := w, error(nil)
	if isBox {
		h, err2 = strconv.Atoi(height)
	}
	switch {
	case err != nil || err2 != nil || w < 0 || h < 0 || isBox && min(w, h) == 0:
		return usageError{fmt.Errorf("SIZE must be a number of pixels, or a box such as 300x200, not %q", s)}
	case w == h:
		req.Size = w
	default:
		req.Width, req.Height = w, h
	}
	return nil
}

// requestFor returns the request that the thumbnail with a key answers.
func requestFor(k *store.Key) thumbcache.Request {
	req := thumbcache.Request{Provider: k.Provider, Path: k.Path, Size: k.Size}
	if k.Height != 0 {
		req.Size, req.Width, req.Height = 0, k.Size, k.Height
	}
	switch {
	case k.Cover:
		req.Fit, req.FocusX, req.FocusY = thumbcache.Cover, float64(k.FocusX)/100, float64(k.FocusY)/100
	case k.Pad && k.Background == store.Blur:
		req.Fit, req.Background = thumbcache.Pad, "blur"
	case k.Pad && k.Background == store.Transparent:
		req.Fit, req.Background = thumbcache.Pad, "transparent"
	case k.Pad:
		req.Fit, req.Background = thumbcache.Pad, fmt.Sprintf("%06x", k.Background)
	}
	switch {
	case k.PNG:
		req.Format = thumbcache.PNG
	case k.Auto:
		req.Format = thumbcache.Auto
	case k.WebP:
		req.Format = thumbcache.WebP
	}
	return req
}

// addFolder adds what is stored in the thumbnail folder dir.
func (x *explainResult) addFolder(dir string, key *store.Key) error {
	s, err := openStore(dir)
	if err != nil {
		return err
	}
	defer s.Close()
	stored, err := s.Source(key.Provider, key.Path)
	if err != nil {
		return err
	}
	picture := store.FileOf(key)
	none := store.FileOf(&store.Key{Provider: key.Provider, Path: key.Path, None: true})
	x.Thumbnail = &fileFacts{File: picture.Folder + "/" + picture.Name}
	for _, f := range stored {
		switch {
		case f.Name == picture.Name:
			x.Thumbnail = readFacts(s, f)
		case f.Name == none.Name:
			x.NoPicture = readFacts(s, f)
		case !f.Temp:
			x.Others = append(x.Others, f.Folder+"/"+f.Name)
		}
	}
	slices.SortFunc(x.Others, func(a, b string) int {
		ka, _ := parseKind(a)
		kb, _ := parseKind(b)
		return cmp.Or(cmp.Compare(ka.Size, kb.Size), cmp.Compare(ka.Height, kb.Height), strings.Compare(a, b))
	})
	return nil
}

// addShared adds what the shared tier has for a cache with this recipe.
func (x *explainResult) addShared(ctx context.Context, t *sharedTier, recipe *store.Entry) (err error) {
	picture := store.Entry{Key: recipe.Key, Pipeline: recipe.Pipeline, Quality: recipe.Quality, Limit: recipe.Limit}
	if x.SharedThumbnail, err = t.readFacts(ctx, &picture); err != nil {
		return err
	}
	none := store.Entry{Key: store.Key{Provider: recipe.Key.Provider, Path: recipe.Key.Path, None: true}, Pipeline: recipe.Pipeline}
	f, err := t.readFacts(ctx, &none)
	if err == nil && f.Stored {
		x.SharedNoPicture = f
	}
	return err
}

// readFacts reads and describes the value of the shared tier that has the key and recipe of e.
func (t *sharedTier) readFacts(ctx context.Context, e *store.Entry) (*fileFacts, error) {
	source, variant := store.Hash(e.Key.Provider, e.Key.Path), e.Variant()
	f := &fileFacts{File: source + "/" + variant, isShared: true}
	data, err := t.Get(ctx, source, variant)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return f, nil
	case err != nil:
		return nil, t.engines[0].wrap(err)
	}
	f.Stored, f.Bytes = true, int64(len(data))
	f.setContent(store.Unseal(data, &e.Key))
	if f.Damage == "" {
		if err := checkValue(source, variant, data); err != nil {
			f.Damage = err.Error()
		}
	}
	return f, nil
}

// maxFileSize bounds the memory that reading a FILE takes, in bytes. No thumbnail is as large.
const maxFileSize = 128 << 20

// readStoredFile is readStored for a single file, which need not be in a thumbnail folder.
func readStoredFile(name string) (*explainResult, thumbcache.Request, error) {
	var req thumbcache.Request
	info, err := os.Stat(name)
	if err != nil {
		return nil, req, err
	}
	if info.IsDir() {
		return nil, req, usageError{fmt.Errorf("%s is a folder, so PROVIDER, PATH and SIZE are required", quoteName(name))}
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
		f.WhyNot = append(f.WhyNot, "a cache would look for it in "+at.Folder+"/"+at.Name)
	}
	x.Provider, x.Path = e.Key.Provider, e.Key.Path
	req = requestFor(&e.Key)
	if e.Key.None {
		x.NoPicture, req.Size = f, 300
	} else {
		x.Thumbnail = f
	}
	return x, req, nil
}

// readFacts reads and describes one file of a thumbnail folder.
func readFacts(s *store.Store, file store.File) *fileFacts {
	f := &fileFacts{File: file.Folder + "/" + file.Name, Stored: true, Bytes: file.Size, Used: &file.Used}
	f.setContent(s.Read(file))
	return f
}

// setContent sets the result of reading the file: an entry, or the error that explains why there is none.
func (f *fileFacts) setContent(e *store.Entry, err error) {
	f.entry = e
	switch {
	case errors.Is(err, store.ErrOtherVersion):
		f.Damage = "it was written by another version of thumbcache, in another format"
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
		k, _ := parseKind(store.FileOf(&e.Key).Name)
		f.Content.Kind = &k
	}
}

func sourceOf(e *store.Entry) *stampFacts { return &stampFacts{e.Size, e.ModTime, e.Tag} }

// makeTrial makes a thumbnail in a temporary cache with the server's settings, and describes the source, the result and
// what that cache has stored.
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
		Profiles:  thumbcache.DLNAProfiles(),
		Observer: &thumbcache.Observer{Stage: func(_, _, stage string, took time.Duration, err error) {
			if stage == "queue" || stage == "store" { // they depend on the load and the disk of the server, not of this cache
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
	cache.Close() // completes the write in the background
	if err != nil {
		m.Error = describeError(err)
		m.isGone = errors.Is(err, fs.ErrNotExist)
	} else {
		m.Width, m.Height, m.Bytes = t.Width, t.Height, len(t.Data)
	}
	if m.entry, err = readTrialEntry(dir, req); err != nil {
		return nil, err
	}
	if m.entry != nil {
		m.Source = sourceOf(m.entry)
	} else if !m.isGone {
		if stamp, err := media.Stat(ctx, req.Path); err == nil {
			m.Source = &stampFacts{stamp.Size, stamp.ModTime, stamp.Tag}
		}
	}
	return m, nil
}

// readTrialEntry returns what the cache of a trial has stored in dir, or nil if it has stored nothing.
func readTrialEntry(dir string, req thumbcache.Request) (entry *store.Entry, err error) {
	s, err := store.Existing(dir)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	files, err := s.Source(req.Provider, req.Path)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if e, err := s.Read(f); err == nil {
			entry = e
		}
	}
	return entry, nil
}

// A pixelProvider is a provider whose only source is an image of one pixel.
type pixelProvider struct{}

func (pixelProvider) Stat(context.Context, string) (thumbcache.Stamp, error) {
	return thumbcache.Stamp{Size: 1}, nil
}

func (pixelProvider) Open(context.Context, string) (*thumbcache.Source, error) {
	var b bytes.Buffer
	err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 1, 1)))
	return thumbcache.BytesSource("pixel", thumbcache.Stamp{Size: 1}, b.Bytes()), err
}

// checkRecipe returns the reasons why a cache of this build would not use e, regardless of its source.
func checkRecipe(e, recipe *store.Entry, o explainOptions) (reasons []string) {
	if e.Pipeline != recipe.Pipeline {
		reasons = append(reasons, fmt.Sprintf("it was made by version %d of the pipeline; this build has version %d", e.Pipeline, recipe.Pipeline))
	}
	if e.Key.None {
		switch age := time.Since(e.Made); {
		case age < 0:
			reasons = append(reasons, "its time is in the future, so a clock was wrong")
		case age >= o.failures:
			reasons = append(reasons, "it is older than "+o.failures.String()+" (--failure-ttl), so the next request tries again")
		}
		return reasons
	}
	if e.Quality != recipe.Quality {
		reasons = append(reasons, fmt.Sprintf("it was made with quality %d; the server uses %d (--quality)", e.Quality, recipe.Quality))
	}
	if e.Limit != recipe.Limit {
		reasons = append(reasons, fmt.Sprintf("it was limited to %d px; the server's limit is %d px (--max-size)", e.Limit, recipe.Limit))
	}
	return reasons
}

// artTagSeparator separates the tag of a source from what thumbcache adds to it: the stamps of the cover images in its
// folder, if they were considered.
const artTagSeparator = "\x00art"

// checkSource returns the reasons why e does not match the present state of its source.
func checkSource(e *store.Entry, m *mediaFacts) []string {
	switch {
	case m == nil || !m.isGone && m.Source == nil: // a cache keeps serving while the source cannot be reached
		return nil
	case m.isGone:
		return []string{"the source no longer exists: " + m.Error}
	}
	now := *m.Source
	oldTag, oldArt, hadArt := strings.Cut(e.Tag, artTagSeparator)
	newTag, newArt, hasArt := strings.Cut(now.Tag, artTagSeparator)
	switch {
	case now.Size != e.Size || !now.ModTime.Equal(e.ModTime) || newTag != oldTag:
		return []string{"the source has changed"}
	case hadArt && hasArt && oldArt != newArt:
		return []string{"the cover images in the folder of the source have changed"}
	case e.Key.None && m.entry != nil && m.entry.Key.None && m.entry.FFmpeg != e.FFmpeg:
		return []string{"it was recorded with another version of ffmpeg than is installed now"}
	}
	return nil
}
