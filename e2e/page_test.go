package e2e

import (
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// covers is how many pictures of the grid can be seen, and count how many tiles there are.
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
		t.Errorf("%d of %d covers are there", seen, tiles)
	}
	if words := evaluate[string](b, `[...document.querySelectorAll(".picture.failed span")].map((e) => e.textContent).join()`); !strings.Contains(words, "no picture") || !strings.Contains(words, "broken") {
		t.Errorf("those without a picture say %q", words)
	}
	b.checkComplaints()
}

// A thumbnail's URL carries its version, so that the browser need not ask for it again.
func TestSecondVisitUsesBrowserCache(t *testing.T) {
	b := openTab(t, desktop)
	page := serve(t, copySampleLibrary(t))
	b.visit(page)
	if first := b.sentURLs("/thumb/"); len(first) < 17 {
		t.Fatalf("the first visit asked for %d thumbnails only", len(first))
	}
	b.visit(page)
	b.waitFor(`document.querySelectorAll(".picture.failed").length === 2`)
	if seen := evaluate[int](b, loadedCovers); seen != 15 {
		t.Errorf("%d covers are there", seen)
	}
	for _, url := range b.sentURLs("/thumb/") {
		if !strings.Contains(url, pictureless[0]) && !strings.Contains(url, pictureless[1]) {
			t.Errorf("the second visit asked for %s", url)
		}
	}
	b.checkComplaints()
}

// Before a picture comes, its place has its colours.
func TestPlaceholdersResemblePictures(t *testing.T) {
	b := openTab(t, desktop)
	page := serve(t, copySampleLibrary(t))
	b.visit(page)
	b.visit(page) // now there are thumbnails, so there are hashes
	if n := evaluate[int](b, `document.querySelectorAll("#grid canvas").length`); n != 15 {
		t.Errorf("%d placeholders", n)
	}
	b.waitFor(`[...document.querySelectorAll("#grid canvas")].every((c) => c.width > 1)`)
	b.run(chromedp.Evaluate[chromedp.Void](`for (const i of document.querySelectorAll("#grid img")) i.style.visibility = "hidden"`))
	b.takeScreenshot("placeholders")
	// Each is like its picture, as seen from far away.
	far := evaluate[[]string](b, `[...document.querySelectorAll("#grid .picture.loaded")].filter((p) => p.querySelector("canvas")).map((p) => {
		const squint = (source) => {
			const c = new OffscreenCanvas(4, 4).getContext("2d");
			c.imageSmoothingQuality = "high";
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
	is := func(want string) {
		t.Helper()
		if got := focused(); got != want {
			t.Errorf("the focus is on %q, want %q", got, want)
		}
	}
	if n := evaluate[int](b, tileCount); n != 6 || evaluate[int](b, loadedCovers) != 6 {
		t.Fatalf("%d folders, %d covers", n, evaluate[int](b, loadedCovers))
	}

	b.press(kb.ArrowRight)
	is("Anna Berg")
	b.press(kb.ArrowRight, kb.ArrowRight, kb.ArrowLeft)
	is("Blue Hours")
	b.press(kb.End)
	is("Ève 100%")
	b.press(kb.Enter)
	b.waitFor(`document.querySelector("#grid .name")?.textContent === "First Light"`)
	b.waitFor(`document.activeElement.textContent.includes("First Light")`)
	b.press(kb.ArrowRight)
	is("Night Bus #2")
	b.press(kb.Enter)
	b.waitFor(tileCount + ` === 14`)
	b.waitUntilSettled()
	if n := evaluate[int](b, loadedCovers); n != 14 {
		t.Errorf("%d covers in a folder with an odd name", n)
	}
	if crumbs := evaluate[string](b, `document.getElementById("crumbs").textContent`); crumbs != "Music/Ève 100%/Night Bus #2" {
		t.Errorf("the crumbs say %q", crumbs)
	}

	// The large view.
	b.press(kb.Enter)
	b.waitFor(`document.getElementById("box").open && document.getElementById("large").naturalWidth === 200`)
	b.press(kb.ArrowRight)
	b.waitFor(`document.getElementById("about").textContent.includes("2 of 14")`)
	b.press(kb.ArrowLeft, kb.ArrowLeft)
	b.waitFor(`document.getElementById("about").textContent.includes("1 of 14") && document.getElementById("previous").disabled`)
	b.press(kb.Escape)
	b.waitFor(`!document.getElementById("box").open`)
	is("01 Night Bus #2.jpg")

	// A row down and up again.
	b.press(kb.ArrowDown)
	if focused() == "01 Night Bus #2.jpg" {
		t.Error("arrow down does not move")
	}
	b.press(kb.ArrowUp)
	is("01 Night Bus #2.jpg")

	// The filter.
	b.press("/")
	is("filter")
	b.press("1", "2")
	b.waitFor(tileCount + ` === 1`)
	b.press(kb.ArrowDown)
	is("12 Night Bus #2.jpg")
	b.press(kb.Escape)
	b.waitFor(tileCount + ` === 14`)

	// Up, and up again.
	b.press(kb.Escape)
	b.waitFor(tileCount + ` === 3 && document.activeElement.textContent.includes("Night Bus")`)
	is("Night Bus #2")
	b.press(kb.Escape)
	b.waitFor(tileCount + ` === 6 && document.activeElement.textContent.includes("Ève")`)
	is("Ève 100%")

	// With the mouse, and back.
	b.run(chromedp.Click(chromedp.CSS(`#grid li:nth-child(2) a`)))
	b.waitFor(`document.getElementById("crumbs").textContent.includes("Blue Hours")`)
	b.run(chromedp.NavigateBack())
	b.waitFor(tileCount + ` === 6`)
	b.checkComplaints()
}

// A long folder comes in parts, as one scrolls.
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
		t.Errorf("%d of 500 were answered, %d dots", a, d)
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
		t.Errorf("these are %d: %s", sum, words)
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

	// The panel knows of it.
	b.waitFor(`Number(document.getElementById("served").textContent) >= 500`)
	if n := evaluate[int](b, `[...document.querySelectorAll("#panel path.line")].filter((p) => p.getAttribute("d").length > 10).length`); n < 5 {
		t.Errorf("%d lines in the charts", n)
	}
	b.checkComplaints()
}

// Where there are only folders to be seen, there is something to ask for all the same.
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

// Nothing may stick out of the window, and a person looks at the pictures of it.
func TestNoHorizontalOverflow(t *testing.T) {
	for _, library := range []struct {
		name, folder string
		storm        bool
	}{{"sample", copySampleLibrary(t), true}, {"folders", makeLargeLibrary(t), false}} {
		page := serve(t, library.folder)
		for _, device := range []look{desktop, phone} {
			b := openTab(t, device)
			b.visit(page)
			b.visit(page)
			if library.storm {
				b.run(chromedp.Evaluate[chromedp.Void](`document.getElementById("panel").open = true`))
				b.run(chromedp.Evaluate[chromedp.Void](`document.getElementById("fire").click()`))
				b.waitFor(`document.getElementById("cached")?.dataset.answered && !document.getElementById("fire").disabled`)
				b.run(chromedp.Evaluate[chromedp.Void](`document.getElementById("panel").open = ` + strconv.FormatBool(!device.phone) + `; document.getElementById("panel").scrollTop = 0; scrollTo(0, 0)`))
			}
			for _, dark := range []bool{false, true} {
				device.dark = dark
				b.setLook(device)
				b.waitFor(`matchMedia("(prefers-color-scheme: ` + map[bool]string{false: "light", true: "dark"}[dark] + `)").matches`)
				if wide := evaluate[int](b, `document.documentElement.scrollWidth - innerWidth`); wide > 0 {
					t.Errorf("%s %v: %d pixels stick out", library.name, device, wide)
				}
				b.waitUntilSettled()
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
				b.waitFor(`document.getElementById("large").naturalWidth > 0`)
				b.takeScreenshot("large-" + device.String())
			}
			b.checkComplaints()
		}
	}
}
