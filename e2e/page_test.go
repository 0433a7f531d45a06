package e2e

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// JavaScript expressions: the number of pictures that the grid has loaded, and its number of tiles.
const (
	loadedCovers = `[...document.querySelectorAll("#grid img")].filter((i) => i.complete && i.naturalWidth > 0).length`
	tileCount    = `document.querySelectorAll("#grid li").length`
)

func TestEveryCoverDecodes(t *testing.T) {
	b := openTab(t, desktop)
	b.visit(serve(t, copySampleLibrary(t)))
	b.waitFor(`document.querySelectorAll(".picture.failed").length === 2`)
	tiles, seen := evaluate[int](b, tileCount), evaluate[int](b, loadedCovers)
	if tiles != 17 || seen != tiles-len(pictureless) {
		t.Errorf("%d of %d covers have loaded", seen, tiles)
	}
	if words := evaluate[string](b, `[...document.querySelectorAll(".picture.failed span")].map((e) => e.textContent).join()`); !strings.Contains(words, "no picture") || !strings.Contains(words, "corrupt") {
		t.Errorf("the files without a picture show %q", words)
	}
	b.checkComplaints()
}

// The URL of a thumbnail contains its version, so the browser serves it from its own cache on the second visit.
func TestSecondVisitUsesBrowserCache(t *testing.T) {
	b := openTab(t, desktop)
	page := serve(t, copySampleLibrary(t))
	b.visit(page)
	if first := b.sentURLs("/thumb/"); len(first) < 17 {
		t.Fatalf("the first visit requested only %d thumbnails", len(first))
	}
	b.visit(page)
	b.waitFor(`document.querySelectorAll(".picture.failed").length === 2`)
	if seen := evaluate[int](b, loadedCovers); seen != 15 {
		t.Errorf("%d covers have loaded", seen)
	}
	for _, url := range b.sentURLs("/thumb/") {
		if !strings.Contains(url, pictureless[0]) && !strings.Contains(url, pictureless[1]) {
			t.Errorf("the second visit requested %s", url)
		}
	}
	b.checkComplaints()
}

// Until a picture has loaded, its tile shows a placeholder in the same colors.
func TestPlaceholdersResemblePictures(t *testing.T) {
	b := openTab(t, desktop)
	page := serve(t, copySampleLibrary(t))
	b.visit(page)
	b.visit(page) // the first visit has made the thumbnails, and their hashes
	if n := evaluate[int](b, `document.querySelectorAll("#grid canvas").length`); n != 15 {
		t.Errorf("%d placeholders", n)
	}
	b.waitFor(`[...document.querySelectorAll("#grid canvas")].every((c) => c.width > 1)`)
	b.run(chromedp.Evaluate[chromedp.Void](`for (const i of document.querySelectorAll("#grid img")) i.style.visibility = "hidden"`))
	b.takeScreenshot("placeholders")
	// Scaled to 4 x 4 pixels, placeholder and picture must be similar.
	far := evaluate[[]string](b, `[...document.querySelectorAll("#grid .picture.loaded")].filter((p) => p.querySelector("canvas")).map((p) => {
		const squint = (source) => {
			const c = new OffscreenCanvas(4, 4).getContext("2d");
			c.imageSmoothingQuality = "high";
			c.fillStyle = getComputedStyle(source).backgroundColor;
			c.fillRect(0, 0, 4, 4);
			c.drawImage(source, 0, 0, 4, 4);
			return [...c.getImageData(0, 0, 4, 4).data];
		};
		const a = squint(p.querySelector("canvas")), b = squint(p.querySelector("img"));
		const off = a.reduce((sum, v, i) => sum + Math.abs(v - b[i]), 0) / 48;
		return off > 20 ? p.parentNode.textContent + " is off by " + off : "";
	}).filter(Boolean)`)
	if len(far) > 0 {
		t.Error(far)
	}
	b.checkComplaints()
}

func TestFoldersAndKeys(t *testing.T) {
	b := openTab(t, desktop)
	b.visit(serve(t, makeLargeLibrary(t)))
	focused := func() string {
		t.Helper()
		return evaluate[string](b, `document.activeElement?.closest("#grid li")?.querySelector(".name").textContent ?? document.activeElement?.id ?? ""`)
	}
	checkFocus := func(want string) {
		t.Helper()
		if got := focused(); got != want {
			t.Errorf("the focus is on %q, want %q", got, want)
		}
	}
	if n := evaluate[int](b, tileCount); n != 6 || evaluate[int](b, loadedCovers) != 6 {
		t.Fatalf("%d folders, %d covers", n, evaluate[int](b, loadedCovers))
	}

	b.press(kb.ArrowRight)
	checkFocus("Anna Berg")
	b.press(kb.ArrowRight, kb.ArrowRight, kb.ArrowLeft)
	checkFocus("Blue Hours")
	b.press(kb.End)
	checkFocus("Foxglove") // an accent does not move a name to the end
	b.press(kb.ArrowLeft)
	checkFocus("Ève 100%")
	b.press(kb.Enter)
	b.waitFor(`document.querySelector("#grid .name")?.textContent === "First Light"`)
	b.waitFor(`document.activeElement.textContent.includes("First Light")`)
	b.press(kb.ArrowRight)
	checkFocus("Night Bus #2")
	b.press(kb.Enter)
	b.waitFor(tileCount + ` === 14`)
	b.waitUntilSettled()
	if n := evaluate[int](b, loadedCovers); n != 14 {
		t.Errorf("%d covers in a folder whose name needs escaping", n)
	}
	if crumbs := evaluate[string](b, `document.getElementById("crumbs").textContent`); crumbs != "Music/Ève 100%/Night Bus #2" {
		t.Errorf("the breadcrumb shows %q", crumbs)
	}

	// Use the viewer.
	b.press(kb.Enter)
	b.waitFor(`document.getElementById("box").open && document.getElementById("large")?.naturalWidth === 200`)
	b.press(kb.ArrowRight)
	b.waitFor(`document.getElementById("about").textContent.includes("2 of 14")`)
	b.press(kb.ArrowLeft, kb.ArrowLeft)
	b.waitFor(`document.getElementById("about").textContent.includes("1 of 14") && document.getElementById("previous").disabled`)
	b.press(kb.Escape)
	b.waitFor(`!document.getElementById("box").open`)
	checkFocus("01 Night Bus #2.jpg")

	// Move a row down and up again.
	b.press(kb.ArrowDown)
	if focused() == "01 Night Bus #2.jpg" {
		t.Error("the down arrow does not move the focus")
	}
	b.press(kb.ArrowUp)
	checkFocus("01 Night Bus #2.jpg")

	// The header does not cover a tile that gets the focus.
	b.setLook(look{width: 1000, height: 400})
	b.press(kb.ArrowDown)
	b.run(chromedp.Evaluate[chromedp.Void](`scrollBy(0, document.querySelector("#grid a").getBoundingClientRect().top)`))
	b.press(kb.ArrowUp)
	b.waitFor(`document.activeElement.getBoundingClientRect().top >= document.querySelector("header").getBoundingClientRect().bottom`)
	b.setLook(desktop)

	// Use the filter.
	b.press("/")
	checkFocus("filter")
	b.press("1", "2")
	b.waitFor(tileCount + ` === 1`)
	b.press(kb.ArrowDown)
	checkFocus("12 Night Bus #2.jpg")
	b.press(kb.Escape)
	b.waitFor(tileCount + ` === 14`)

	// Go up twice.
	b.press(kb.Escape)
	b.waitFor(tileCount + ` === 3 && document.activeElement.textContent.includes("Night Bus")`)
	checkFocus("Night Bus #2")
	b.press(kb.Escape)
	b.waitFor(tileCount + ` === 6 && document.activeElement.textContent.includes("Ève")`)
	checkFocus("Ève 100%")

	// Click a folder, and go back in the history.
	b.run(chromedp.Click(chromedp.CSS(`#grid li:nth-child(2) a`)))
	b.waitFor(`document.getElementById("crumbs").textContent.includes("Blue Hours")`)
	b.run(chromedp.NavigateBack())
	b.waitFor(tileCount + ` === 6`)
	b.checkComplaints()
}

// endText is the text below the grid.
const endText = `document.getElementById("end").textContent`

// A folder without pictures, and a filter without a match, are described in words.
func TestEmptyFolder(t *testing.T) {
	b := openTab(t, desktop)
	b.visitEmpty(serve(t, t.TempDir()))
	b.waitFor(endText + ` === "This folder is empty."`)
	b.takeScreenshot("empty-" + desktop.String())
	b.run(chromedp.Click(chromedp.CSS(`#fire`)))
	b.waitFor(`document.getElementById("versus").textContent === "There are no pictures here to request."`)
	b.press("/", "x")
	b.waitFor(endText + ` === "Nothing matches."`)
	b.checkComplaints()
}

// The panel has a line for the shared tier if there is one, even if it does not work.
func TestSharedTier(t *testing.T) {
	folder := copySampleLibrary(t)
	const line = `document.querySelector("#tiers .fleet")`
	b := openTab(t, desktop)
	b.visit(serve(t, folder))
	b.waitFor(line + `.hidden && ` + line + `.textContent === "from the shared tier0"`)
	const absent = "redis://127.0.0.1:1"
	b.visit(startServer(t, folder, "localhost:0", "sh", "-c", `exec "$@" --shared `+absent, "sh").url)
	b.waitFor(`!` + line + `.hidden && ` + line + `.textContent === "from the shared tier0" && !` + line + `.title.startsWith("0 calls failed")`)
	b.takeScreenshot("shared-" + desktop.String())
	b.checkComplaints()
}

// The page says why it cannot show a folder, and the server says so too when it starts.
func TestUnreadableFolders(t *testing.T) {
	root := t.TempDir()
	locked := filepath.Join(root, "Locked")
	for name, mode := range map[string]os.FileMode{locked: 0, filepath.Dir(root): 0o755} {
		_ = os.Mkdir(name, 0o755)
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = os.Chmod(locked, 0o755) }) // so that it can be removed
	writeJPEG(t, filepath.Join(root, "a.jpg"), drawCover(rand.New(rand.NewPCG(1, 1))))
	var prefix []string
	if os.Geteuid() == 0 {
		prefix = []string{"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"} // root may read every folder
	}
	b := openTab(t, desktop)

	server := startServer(t, root, "localhost:0", prefix...)
	b.visit(server.url)
	b.waitFor(tileCount + ` === 2 && document.querySelector(".failed")?.textContent === "permission denied"`)
	b.checkComplaints()
	if s := server.stderr.String(); s != "" {
		t.Errorf("the server says %q", s)
	}
	b.run(chromedp.Click(chromedp.CSS(`#grid .folder a`)))
	b.waitFor(endText + `.startsWith("Permission denied")`)
	b.takeScreenshot("locked-" + desktop.String())
	b.visitEmpty(server.url + "#none")
	b.waitFor(endText + ` === "There is no such folder."`)

	server = startServer(t, locked, "localhost:0", prefix...)
	b.visitEmpty(server.url)
	b.waitFor(endText + `.startsWith("Permission denied")`)
	if s := server.stderr.String(); !strings.Contains(s, "cannot be read: permission denied") {
		t.Errorf("the server says %q", s)
	}

	if err := os.Chmod(locked, 0o755); err != nil {
		t.Fatal(err)
	}
	writeJPEG(t, filepath.Join(locked, "b.jpg"), drawCover(rand.New(rand.NewPCG(4, 4))))
	b.waitFor(tileCount + ` === 1`)

	missing := filepath.Join(root, "missing")
	if err := os.Mkdir(missing, 0o755); err != nil {
		t.Fatal(err)
	}
	page := serve(t, missing)
	if err := os.Remove(missing); err != nil {
		t.Fatal(err)
	}
	b.visitEmpty(page)
	b.waitFor(endText + ` === "The folder of this library is missing on the server."`)
}

// Filter, order and the open picture are in the URL, so Back undoes them, and a link to them works in another browser.
func TestStateInURL(t *testing.T) {
	b := openTab(t, desktop)
	page := serve(t, makeLargeLibrary(t))
	const folder = "#Blue+Hours%2FNight+Bus+%232"
	names := func() string {
		t.Helper()
		return evaluate[string](b, `[...document.querySelectorAll("#grid .name")].map((e) => e.textContent.slice(0, 2)).join()`)
	}
	b.visit(page + folder)
	b.press("/", "0")
	b.waitFor(tileCount + ` === 10`)
	b.press("1")
	b.waitFor(tileCount + ` === 1`)
	b.run(chromedp.Click(chromedp.CSS(`#grid a`)))
	b.waitFor(`document.getElementById("large")?.naturalWidth`)
	link := evaluate[string](b, `location.href`)
	if want := page + folder + "?filter=01&open=Blue+Hours%2FNight+Bus+%232%2F01+Night+Bus+%232.jpg"; link != want {
		t.Errorf("the link is %s, want %s", link, want)
	}
	b.run(chromedp.NavigateBack())
	b.waitFor(`!document.getElementById("box").open && ` + tileCount + ` === 1`)
	b.run(chromedp.NavigateBack())
	b.waitFor(tileCount + ` === 14 && document.getElementById("filter").value === ""`)

	// Closing goes back too, so it leaves no entry in the history.
	before := evaluate[int](b, `history.length`)
	b.run(chromedp.Evaluate[chromedp.Void](`document.querySelector("#grid li:nth-child(3) a").click()`))
	b.waitFor(`document.getElementById("large")?.naturalWidth`)
	b.press(kb.ArrowRight)
	b.waitFor(`location.hash.includes("%2F04+")`)
	b.press(kb.Escape)
	b.waitFor(`!document.getElementById("box").open && !location.hash.includes("?")`)
	if after := evaluate[int](b, `history.length`); after > before {
		t.Errorf("the history has grown from %d to %d", before, after)
	}

	b.run(chromedp.Evaluate[chromedp.Void](`(() => { const s = document.getElementById("sort"); s.value = "date"; s.dispatchEvent(new Event("change")); })()`))
	b.waitFor(`document.querySelector("#grid .name")?.textContent.startsWith("14")`)
	if got := names(); got != "14,13,12,11,10,09,08,07,06,05,04,03,02,01" {
		t.Errorf("sorted by date: %s", got)
	}
	b.waitFor(`location.hash.endsWith("?sort=date")`)

	other := openTab(t, desktop)
	other.run(chromedp.Navigate(link))
	other.waitFor(`document.getElementById("large")?.naturalWidth === 200 && document.getElementById("about").textContent.includes("1 of 1")`)
	other.press(kb.Escape)
	other.waitFor(`!document.getElementById("box").open && ` + tileCount + ` === 1 && document.getElementById("filter").value === "01"`)
	other.checkComplaints()
	b.checkComplaints()
}

// The search finds files and folders everywhere below the open folder, by the names above them too.
func TestSearch(t *testing.T) {
	b := openTab(t, desktop)
	b.visit(serve(t, makeLargeLibrary(t)))
	b.press("/", "n", "b")
	b.waitFor(tileCount + ` === 90 && document.querySelectorAll("#grid .folder").length === 6`)
	b.press(" ", "1", "0", "0", "%", " ", "1", "4")
	b.waitFor(tileCount + ` === 1`)
	if text := evaluate[string](b, `document.querySelector("#grid li").textContent`); text != "14 Night Bus #2.jpgÈve 100% / Night Bus #2" {
		t.Errorf("found %q", text)
	}
	b.waitUntilSettled()
	b.takeScreenshot("search-" + desktop.String())
	b.run(chromedp.Click(chromedp.CSS(`#grid .where`)))
	b.waitFor(tileCount + ` === 14 && document.getElementById("filter").value === ""`)
	b.checkComplaints()
}

// The search finds songs by their tags, and shows what it has found.
func TestSearchTags(t *testing.T) {
	b := openTab(t, desktop)
	b.visit(serve(t, copySampleLibrary(t)))
	b.press("/", "i", "s", "i", "n", " ", "u", "n", "a", "l") // Işın by Çelik Ünal
	b.waitFor(tileCount + ` === 1 && document.querySelector("#grid .name").textContent === "03 Pencere.aiff"`)
	if s := evaluate[string](b, `document.querySelector("#grid .tags").textContent`); s != "Işın\u00a0· Çelik Ünal\u00a0· Şarkılar" {
		t.Errorf("the tile shows %q", s)
	}
	b.waitUntilSettled()
	b.takeScreenshot("search-tags-" + desktop.String())
	b.run(chromedp.Click(chromedp.CSS(`#grid a`)))
	b.waitFor(`document.getElementById("tags").textContent === "IşınÇelik ÜnalŞarkılar"`)
	b.checkComplaints()
}

// No name is taken for markup, a script, a URL or a part of the state in the URL.
func TestHostileNames(t *testing.T) {
	root := t.TempDir()
	folder := filepath.Join(root, `<b onmouseover=alert(1)>#?open=x&filter=y`)
	names := []string{`<img src=x onerror=alert(1)>.jpg`, `" onerror="alert(1).jpg`, `javascript:alert(1).jpg`, `#?open=a&sort=date.jpg`, `%2e%2e%2f%00.jpg`, "a\nb\tc.jpg", "\u202egpj.exe.jpg", "שלום 1.jpg", "?size=0&v=1.jpg", "+ &=;,'`$(x).jpg", `back\slash.jpg`, "{{.}}${x}.jpg"}
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Skip(err) // Windows does not allow such names
	}
	for i, name := range names {
		writeJPEG(t, filepath.Join(folder, name), drawCover(rand.New(rand.NewPCG(9, uint64(i)))))
	}
	b := openTab(t, desktop)
	page := serve(t, root)
	b.visit(page)
	b.waitFor(tileCount + ` === ` + strconv.Itoa(len(names)))
	b.run(chromedp.Click(chromedp.CSS(`#grid .where`)))
	b.waitFor(`location.hash.length > 1 && ` + tileCount + ` === ` + strconv.Itoa(len(names)))
	for i := range names {
		tile := `document.querySelector("#grid li:nth-child(` + strconv.Itoa(i+1) + `)`
		name := evaluate[string](b, tile+` .name").textContent`)
		b.run(chromedp.Evaluate[chromedp.Void](tile + ` a").click()`))
		b.waitFor(`document.getElementById("large")?.naturalWidth === 200`)
		link := evaluate[string](b, `location.href`)
		b.run(chromedp.Navigate("about:blank"), chromedp.Navigate(link)) // as another visitor would
		b.waitFor(`document.getElementById("large")?.naturalWidth === 200`)
		if title := evaluate[string](b, `document.getElementById("title").textContent`); title != name || !slices.Contains(names, name) {
			t.Errorf("opened %q, want %q", title, name)
		}
		b.run(chromedp.Click(chromedp.CSS(`#original`)), chromedp.Click(chromedp.CSS(`#explain`)))
		b.waitFor(`document.querySelector("#large.original")?.naturalWidth === 200 && document.getElementById("explanation").textContent.includes("1280 px")`)
		b.press(kb.Escape)
		b.waitFor(`!document.getElementById("box").open && ` + tileCount + ` === ` + strconv.Itoa(len(names)))
	}
	if n := evaluate[int](b, `document.querySelectorAll("b[onmouseover], #grid img[src]").length`); n > 0 {
		t.Error("a name has become markup")
	}
	b.checkComplaints()
}

// A link to a picture works also if the picture is on a later page of a long listing.
func TestLinkFarDown(t *testing.T) {
	root := t.TempDir()
	cover := drawCover(rand.New(rand.NewPCG(2, 2)))
	writeJPEG(t, filepath.Join(root, "0.jpg"), cover)
	data, err := os.ReadFile(filepath.Join(root, "0.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 700 {
		if err := os.WriteFile(filepath.Join(root, strconv.Itoa(i)+".jpg"), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b := openTab(t, phone)
	b.run(chromedp.Navigate(serve(t, root) + "#?open=650.jpg"))
	b.waitFor(`document.getElementById("large")?.naturalWidth === 200 && document.getElementById("about").textContent.includes("651 of 700")`)
	b.checkComplaints()
}

// The viewer shows the original, plays songs and films, and explains where a thumbnail came from, also a missing one.
func TestViewer(t *testing.T) {
	b := openTab(t, desktop)
	folder := copySampleLibrary(t)
	cut, err := os.ReadFile(filepath.Join(folder, "Pictures", "Held Sideways.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	page := serve(t, folder)
	b.visit(page)
	b.waitFor(`document.querySelectorAll(".picture.failed").length === 2`)
	about := func() string { return evaluate[string](b, `document.getElementById("about").textContent`) }
	open := func(name string) {
		t.Helper()
		b.run(chromedp.Evaluate[chromedp.Void](`[...document.querySelectorAll("#grid li")].find((li) => li.textContent.includes("` + name + `")).querySelector("a").click()`))
		b.waitFor(`document.getElementById("title").textContent.includes("` + name + `") && document.querySelector("#stage > *")`)
	}

	open("Glass.png")
	b.waitFor(`document.getElementById("large")?.naturalWidth`)
	if s := about(); !strings.Contains(s, "KiB") || !strings.Contains(s, ", 20") || !strings.Contains(s, " of 17") {
		t.Errorf("the facts are %q", s)
	}
	b.run(chromedp.Click(chromedp.CSS(`#original`)))
	b.waitFor(`document.querySelector("#large.original")?.naturalWidth && document.getElementById("original").disabled`)
	b.run(chromedp.Click(chromedp.CSS(`#explain`)))
	b.waitFor(`document.getElementById("explanation").textContent.includes("1280 px") && document.getElementById("explanation").textContent.includes("scale and encode")`)
	b.takeScreenshot("explanation-" + desktop.String())
	b.press("i")
	b.waitFor(`document.getElementById("explanation").hidden`)
	b.press(kb.Escape)
	b.waitFor(`!document.getElementById("box").open`)

	open("02 Back Before Front.flac")
	b.waitFor(`document.getElementById("tags").textContent === "BasketAda RingsLossless"`)
	b.press("i")
	b.waitFor(`document.getElementById("explanation").textContent.includes("number 1 of 2 pictures in the file")`)
	b.takeScreenshot("tags-" + desktop.String())
	b.press(kb.Escape)
	b.waitFor(`!document.getElementById("box").open`)

	open("03 Vorbis.ogg")
	b.run(chromedp.Click(chromedp.CSS(`#original`)))
	b.waitFor(`document.querySelector("audio")?.duration > 0`)
	b.takeScreenshot("song-" + desktop.String())
	b.press(kb.Escape)
	b.waitFor(`!document.getElementById("box").open && !document.querySelector("audio")`)

	open("Over the Hills.mp4")
	b.run(chromedp.Click(chromedp.CSS(`#original`)))
	b.waitFor(`document.querySelector("video")?.videoWidth > 0 || document.querySelector("#stage .note")?.textContent.includes("cannot play the film")`)
	b.setLook(phone) // the controls of a film are in its picture, not far below it
	b.waitFor(`(({ width, height }) => Math.abs(width / height - 16 / 9) < 0.1)(document.getElementById("player").getBoundingClientRect())`)
	b.setLook(desktop)
	b.takeScreenshot("film-" + desktop.String())
	b.press(kb.Escape)
	b.waitFor(`!document.getElementById("box").open`)
	b.checkComplaints()

	open("Broken.flac")
	b.waitFor(`document.querySelector("#stage .reason")?.textContent.includes("corrupt") && document.getElementById("explanation").textContent.includes("find the picture")`)
	b.takeScreenshot("broken-" + desktop.String())
	b.run(chromedp.Navigate("about:blank"), chromedp.Navigate(page+"#?open=Nobody%2FNo+Cover.mp3"))
	b.waitFor(`document.querySelector("#stage .reason")?.textContent.includes("no picture in this file")`)

	if err := os.WriteFile(filepath.Join(folder, "Pictures", "Cut.jpg"), cut[:len(cut)/2], 0o644); err != nil {
		t.Fatal(err)
	}
	b.run(chromedp.Navigate("about:blank"), chromedp.Navigate(page+"#?open=Pictures%2FCut.jpg"))
	b.waitFor(`document.getElementById("about").textContent.includes("a part of the picture is missing")`)
	b.takeScreenshot("damaged-" + desktop.String())
	b.checkComplaints()
}

// Each file is requested once, also if it has no picture, so that the counts of the page are those of the files.
func TestEachFileIsRequestedOnce(t *testing.T) {
	b := openTab(t, desktop)
	b.visit(serve(t, copySampleLibrary(t)))
	b.waitFor(`document.querySelectorAll(".picture.failed").length === 2`)
	if n := b.countRequests("/thumb/"); n != 17 {
		t.Errorf("%d requests for 17 files", n)
	}
	b.waitFor(`document.getElementById("headline").textContent === "15 thumbnails" && document.getElementById("subline").textContent.startsWith("made in")`)
	b.checkComplaints()
}

// What is added to the open folder appears, and what is removed disappears. The other tiles and the focus stay.
func TestChangesAppear(t *testing.T) {
	root := t.TempDir()
	cover := drawCover(rand.New(rand.NewPCG(3, 3)))
	file := func(name string) string { return filepath.Join(root, name) }
	writeJPEG(t, file("2.jpg"), cover)
	writeJPEG(t, file("3.jpg"), cover)
	b := openTab(t, desktop)
	b.visit(serve(t, root))
	b.press(kb.ArrowRight)
	b.run(chromedp.Evaluate[chromedp.Void](`document.activeElement.dataset.kept = "yes"`))
	b.sentURLs("")
	writeJPEG(t, file("10.jpg"), cover)
	writeJPEG(t, file("1.jpg"), cover)
	b.waitFor(tileCount + ` === 4 && ` + loadedCovers + ` === 4`)
	if got := evaluate[string](b, `[...document.querySelectorAll("#grid .name")].map((e) => e.textContent).join() + document.activeElement.dataset.kept + document.getElementById("count").textContent`); got != "1.jpg,2.jpg,3.jpg,10.jpgyes4 entries" {
		t.Errorf("got %s", got)
	}
	for _, url := range b.sentURLs("/thumb/") {
		if strings.Contains(url, "/2.jpg") {
			t.Errorf("a file that has not changed was requested again: %s", url)
		}
	}
	for _, name := range []string{"1.jpg", "2.jpg", "3.jpg", "10.jpg"} {
		if err := os.Remove(file(name)); err != nil {
			t.Fatal(err)
		}
	}
	b.waitFor(tileCount + ` === 0 && ` + endText + ` === "This folder is empty."`)
	b.checkComplaints()
}

// While the server does not respond, the page says so, and recovers when it does.
func TestConnectionLost(t *testing.T) {
	folder := makeLargeLibrary(t)
	server := startServer(t, folder, "localhost:0")
	b := openTab(t, desktop)
	b.visit(server.url)
	server.stop()
	b.waitFor(`document.getElementById("lost").textContent === "Connection lost. Trying again…"`)
	b.run(chromedp.Click(chromedp.CSS(`#grid li:nth-child(2) a`)))
	b.waitFor(endText + ` === "The server is not responding."`)
	b.takeScreenshot("lost-" + desktop.String())
	startServer(t, folder, strings.Trim(strings.TrimPrefix(server.url, "http://"), "/"))
	b.waitFor(`document.getElementById("lost").textContent === "" && ` + tileCount + ` === 3`)
}

// No state of the page has a finding by axe-core, if THUMBCACHE_AXE is the path of its axe.min.js (npm install axe-core).
func TestAccessibility(t *testing.T) {
	script, err := os.ReadFile(os.Getenv("THUMBCACHE_AXE"))
	if err != nil {
		t.Skip("THUMBCACHE_AXE is not the path of axe.min.js")
	}
	page := serve(t, copySampleLibrary(t))
	empty := serve(t, t.TempDir())
	folders := serve(t, makeLargeLibrary(t))
	var looks []look
	for _, l := range []look{desktop, tablet, phone} {
		dark := l
		dark.dark = true
		looks = append(looks, l, dark)
	}
	for _, l := range looks {
		b := openTab(t, l)
		check := func(state string) {
			t.Helper()
			b.takeScreenshot("axe-" + state + "-" + l.String()) // waits for animations, which change colors
			b.run(chromedp.Evaluate[chromedp.Void](string(script)))
			found := evaluate[[]string](b, `axe.run({ rules: { "target-size": { enabled: true } } }).then((r) => r.violations.flatMap((v) => v.nodes.map((n) => v.id + ": " + n.target + ": " + n.failureSummary)))`)
			for _, f := range found {
				t.Errorf("%s, %v: %s", state, l, f)
			}
		}
		b.visit(page)
		b.waitFor(`document.querySelectorAll(".picture.failed").length === 2`)
		check("grid")
		b.run(chromedp.Evaluate[chromedp.Void](`document.getElementById("panel").open = true; document.getElementById("fire").click()`))
		b.waitFor(`document.getElementById("cached")?.dataset.answered && !document.getElementById("fire").disabled`)
		check("storm")
		b.run(chromedp.Navigate("about:blank"), chromedp.Navigate(page+"#?open=Pictures%2FGlass.png"))
		b.waitFor(`document.getElementById("large")?.naturalWidth`)
		b.press("i")
		b.waitFor(`document.getElementById("explanation").textContent.includes("scale and encode")`)
		check("viewer")
		b.run(chromedp.Navigate("about:blank"), chromedp.Navigate(page+"#?open=Ada+Rings%2FLossless%2F02+Back+Before+Front.flac"))
		b.waitFor(`document.getElementById("large")?.naturalWidth && document.querySelector("#tags span")`)
		b.run(chromedp.Evaluate[chromedp.Void](`document.getElementById("original").click()`))
		b.press("i")
		b.waitFor(`document.querySelector("audio")?.duration > 0 && document.getElementById("explanation").textContent.includes("pictures in the file")`)
		check("song")
		b.visit(page + "#?filter=ada+rings")
		b.waitFor(`document.querySelector("#grid .tags")`)
		check("search")
		b.run(chromedp.Navigate("about:blank"), chromedp.Navigate(page+"#?open=Nobody%2FBroken.flac"))
		b.waitFor(`document.querySelector("#stage .reason")`)
		check("broken")
		b.visitEmpty(empty)
		check("empty")
		b.press("/", "x")
		b.waitFor(endText + ` === "Nothing matches."`)
		check("no-match")
		b.visitEmpty(empty + "#none")
		check("missing")
		b.visit(folders)
		check("folders")
	}
}

// Pictures outside the window load when the user scrolls to them.
func TestScrolling(t *testing.T) {
	b := openTab(t, phone)
	b.visit(serve(t, makeLargeLibrary(t)))
	b.run(chromedp.Click(chromedp.CSS(`#grid li a`)))
	b.waitFor(tileCount + ` === 3`)
	b.run(chromedp.Click(chromedp.CSS(`#grid li a`)))
	b.waitFor(tileCount + ` === 14`)
	b.waitUntilSettled()
	b.run(chromedp.Evaluate[chromedp.Void](`scrollTo(0, document.body.scrollHeight)`))
	b.waitFor(loadedCovers + ` === 14`)
	b.checkComplaints()
}

func TestStorm(t *testing.T) {
	b := openTab(t, desktop)
	b.visit(serve(t, copySampleLibrary(t)))
	b.waitFor(`document.querySelectorAll(".picture.failed").length === 2`)
	number := func(id, name string) int {
		t.Helper()
		s := evaluate[string](b, `document.getElementById("`+id+`").dataset["`+name+`"]`)
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Errorf("%s of %s is %q", name, id, s)
		}
		return n
	}
	dots := func(id string) int {
		t.Helper()
		return evaluate[int](b, `document.querySelectorAll("#`+id+` circle[class]").length`)
	}

	b.run(chromedp.Click(chromedp.CSS(`#fire`)))
	b.waitFor(`document.getElementById("cached")?.dataset.answered`)
	if a, d := number("cached", "answered"), dots("cached"); a != 500 || d != 500 {
		t.Errorf("%d of 500 requests were answered, %d dots", a, d)
	}
	if n := number("cached", "extractions"); n != 10 {
		t.Errorf("%d extractions for 10 pictures", n)
	}
	words := evaluate[string](b, `document.querySelector("#cached output").textContent`)
	sum := 0
	for part := range strings.SplitSeq(words[strings.Index(words, ":")+1:strings.Index(words, ".")], ",") {
		n, err := strconv.Atoi(strings.Fields(part)[0])
		if err != nil {
			t.Error(err)
		}
		sum += n
	}
	if sum != 500 {
		t.Errorf("the counts add up to %d: %s", sum, words)
	}
	t.Log(words)

	b.run(chromedp.Click(chromedp.CSS(`#fire-uncached`)))
	b.waitFor(`document.getElementById("uncached")`)
	b.waitFor(`document.getElementById("uncached").dataset.answered`)
	answered, refused, open := number("uncached", "answered"), number("uncached", "refused"), number("uncached", "open")
	if answered == 0 || refused != 0 || answered+refused+open != 500 || dots("uncached") != answered+refused {
		t.Errorf("%d answered, %d refused, %d open, %d dots", answered, refused, open, dots("uncached"))
	}
	if n := number("uncached", "extractions"); n < answered || n > answered+10 {
		t.Errorf("%d extractions for %d answers", n, answered)
	}
	t.Log(evaluate[string](b, `document.querySelector("#uncached output").textContent`))
	t.Log(evaluate[string](b, `document.getElementById("versus").textContent`))
	b.waitFor(`document.getElementById("versus").textContent.includes("times")`)

	for _, dark := range []bool{false, true} {
		l := desktop
		l.dark = dark
		b.setLook(l)
		b.takeScreenshot("storms-" + l.String())
	}

	// The panel shows the storms too.
	b.waitFor(`Number(document.getElementById("panel").dataset.served) >= 500`)
	if n := evaluate[int](b, `[...document.querySelectorAll("#panel path.line")].filter((p) => p.getAttribute("d").length > 10).length`); n < 5 {
		t.Errorf("%d lines in the charts", n)
	}
	b.checkComplaints()
}

// If the grid contains only folders, the storm requests files in them.
func TestStormInFolderView(t *testing.T) {
	b := openTab(t, desktop)
	b.visit(serve(t, makeLargeLibrary(t)))
	b.run(chromedp.Click(chromedp.CSS(`#fire`)))
	b.waitFor(`document.getElementById("cached")?.dataset.answered === "500"`)
	if n := evaluate[string](b, `document.getElementById("cached").dataset.extractions`); n != "10" {
		t.Errorf("%s extractions for 10 pictures", n)
	}
	b.checkComplaints()
}

// No page is wider than the window. The screenshots are for visual review.
func TestNoHorizontalOverflow(t *testing.T) {
	for _, library := range []struct {
		name, folder string
		storm        bool
	}{{"sample", copySampleLibrary(t), true}, {"folders", makeLargeLibrary(t), false}} {
		page := serve(t, library.folder)
		for _, device := range []look{desktop, tablet, phone} {
			b := openTab(t, device)
			b.visit(page)
			b.visit(page)
			// The header is one row: all its parts have the same middle.
			if n := evaluate[int](b, `new Set([...document.querySelectorAll("header > *")].map((e) => e.getBoundingClientRect()).map((r) => Math.round((r.top + r.bottom) / 8))).size`); n > 2 {
				t.Errorf("%s %v: the header has several rows", library.name, device)
			}
			if library.storm {
				b.run(chromedp.Evaluate[chromedp.Void](`document.getElementById("panel").open = true`))
				b.run(chromedp.Evaluate[chromedp.Void](`document.getElementById("fire").click()`))
				b.waitFor(`document.getElementById("cached")?.dataset.answered && !document.getElementById("fire").disabled`)
				b.run(chromedp.Evaluate[chromedp.Void](`document.getElementById("panel").open = innerWidth >= 1000; document.getElementById("panel").scrollTop = 0; scrollTo(0, 0)`))
			}
			for _, dark := range []bool{false, true} {
				device.dark = dark
				b.setLook(device)
				b.waitFor(`matchMedia("(prefers-color-scheme: ` + map[bool]string{false: "light", true: "dark"}[dark] + `)").matches`)
				if wide := evaluate[int](b, `document.documentElement.scrollWidth - innerWidth`); wide > 0 {
					t.Errorf("%s %v: the page is %d pixels wider than the window", library.name, device, wide)
				}
				b.waitUntilSettled()
				if cut := evaluate[int](b, `(({ scrollWidth, clientWidth }) => scrollWidth - clientWidth)(document.getElementById("digest"))`); cut > 0 {
					t.Errorf("%s %v: the digest lacks %d pixels", library.name, device, cut)
				}
				b.takeScreenshot(library.name + "-" + device.String())
				if library.storm && device.phone {
					b.run(chromedp.Evaluate[chromedp.Void](`document.getElementById("panel").open = true; scrollTo(0, 0)`))
					b.takeScreenshot("panel-" + device.String())
					b.run(chromedp.Evaluate[chromedp.Void](`document.getElementById("storm").scrollIntoView({ block: "center" })`))
					b.takeScreenshot("storm-" + device.String())
					b.run(chromedp.Evaluate[chromedp.Void](`document.getElementById("panel").open = false; scrollTo(0, 0)`))
				}
			}
			if library.storm {
				b.run(chromedp.Evaluate[chromedp.Void](`document.querySelector("#grid li:nth-child(10) a").click()`))
				b.waitFor(`document.getElementById("large")?.naturalWidth > 0`)
				b.takeScreenshot("large-" + device.String())
			}
			b.checkComplaints()
		}
	}
}
