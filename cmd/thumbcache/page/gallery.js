// The gallery: a grid of one folder with a filter, a viewer and keyboard navigation.
import { $, createElement, formatCount, getJSON } from "./dom.js";
import { decodeBase64, paintHash } from "./thumbhash.js";

// setSize returns the URL of a thumbnail with a size in pixels. The grid crops thumbnails with CSS instead of requesting
// squares. So the grid and the viewer share one kind of thumbnail, which is also the one that "thumbcache warm" makes.
const setSize = (thumb, size) => thumb.replace("?size=0", `?size=${size}`);

const largeURL = (entry) => setSize(entry.thumb, 1280);

const isFilm = (name) => /\.(mp4|m4v|mkv|webm|mov|avi|ts|mpe?g|wmv|ogv)$/i.test(name);
const isPicture = (name) => /\.(jpe?g|png|gif|webp|bmp|tiff?|avif|heic)$/i.test(name);

// ---- Tiles

let tiles = []; // of the current folder: { entry, item, link, picture, img, failed }

// Paint a hash only when its tile comes near the viewport: painting thousands at once would take seconds.
const near = new IntersectionObserver((targets) => {
  for (const t of targets) {
    if (!t.isIntersecting) continue;
    near.unobserve(t.target);
    const canvas = t.target.querySelector("canvas");
    if (canvas) paintHash(canvas, decodeBase64(canvas.dataset.hash));
  }
}, { rootMargin: "800px" });

function createTile(entry) {
  const t = { entry, failed: false };
  t.picture = createElement("div", { className: "picture" });
  if (entry.hash) {
    const canvas = createElement("canvas", { width: 1, height: 1 });
    canvas.dataset.hash = entry.hash;
    t.picture.append(canvas);
    near.observe(t.picture);
  }
  const img = t.img = createElement("img", { loading: "lazy", decoding: "async", alt: "", width: 160, height: 160 });
  img.sizes = "(max-width: 560px) 31vw, 190px";
  img.srcset = [160, 320, 640].map((size) => `${setSize(entry.thumb, size)} ${size}w`).join(", ");
  img.addEventListener("load", () => t.picture.classList.add("loaded"));
  img.addEventListener("error", () => showFailure(t), { once: true });
  t.picture.append(img);
  if (isFilm(entry.name)) t.picture.append(createElement("i", { className: "film" }));
  t.link = createElement("a", { href: entry.folder ? `#${entry.folder}` : largeURL(entry), tabIndex: -1 }, t.picture, createElement("span", { className: "name", title: entry.name }, entry.name));
  t.link.addEventListener("focus", () => setCurrent(t));
  t.link.addEventListener("click", (e) => {
    if (entry.folder || e.ctrlKey || e.metaKey || e.shiftKey) return; // let the browser open a new tab or window
    e.preventDefault();
    if (!t.failed) openViewer(t);
  });
  t.item = createElement("li", { className: entry.folder ? "folder" : "" }, t.link);
  if (entry.where) t.item.append(createElement("a", { className: "where", href: `#${entry.open}`, title: `Open ${entry.where}`, tabIndex: -1 }, formatFolder(entry)));
  return t;
}

// formatFolder returns the folder of an entry in a flat listing, for display.
const formatFolder = (entry) => entry.where?.replaceAll("/", " / ");

// showFailure replaces a picture by the reason why there is none, which the server sends as text.
async function showFailure(t) {
  const r = await fetch(setSize(t.entry.thumb, 160)).catch(() => null);
  if (r?.ok && r.headers.get("Content-Type").startsWith("image/")) { // the first attempt failed because the server was busy
    t.img.srcset = t.img.srcset;
    return;
  }
  t.failed = true;
  t.picture.classList.add("failed");
  const why = r ? (await r.text()).trim() : "the server is not responding";
  const sign = t.entry.folder ? "" : isFilm(t.entry.name) ? "▶" : isPicture(t.entry.name) ? "▧" : "♪";
  t.picture.replaceChildren(createElement("b", { ariaHidden: "true" }, sign), createElement("span", {}, why));
}

// ---- The listing

// The server returns a long folder in pages. The next one is fetched when the user scrolls near the end.
let listing = 0; // number of the current listing; responses to older ones are dropped
let folder = "";
let library = "All";

async function openFolder({ focus } = {}) {
  const mine = ++listing;
  folder = location.hash.slice(1);
  const filter = encodeURIComponent($("filter").value.trim());
  renderCrumbs();
  $("end").textContent = "";
  let after = "";
  let first = true;
  try {
    do {
      const page = await getJSON(`list.json?folder=${folder}&filter=${filter}&after=${after}`);
      if (mine !== listing) return;
      if (first) near.disconnect(); // from the previous folder's tiles
      const added = page.entries.map(createTile);
      if (first) {
        tiles = added;
        $("grid").replaceChildren(...added.map((t) => t.item));
        setCurrent(tiles[0]);
        if (focus !== undefined) (tiles.find((t) => t.entry.folder === focus) ?? tiles[0])?.link.focus();
        first = false;
      } else {
        tiles.push(...added);
        $("grid").append(...added.map((t) => t.item));
      }
      after = page.next;
      if (after) await waitForEnd();
    } while (after && mine === listing);
    if (mine !== listing) return;
    $("end").textContent = tiles.length > 0 ? (tiles.length > 24 ? `${formatCount(tiles.length)} entries` : "") :
      filter ? "No names match the filter." : "This folder is empty.";
  } catch (err) {
    if (mine !== listing) return;
    tiles = [];
    $("grid").replaceChildren();
    $("end").textContent = err.message;
  }
}

function waitForEnd() {
  return new Promise((resolve) => {
    const watch = new IntersectionObserver((seen) => {
      if (seen.some((e) => e.isIntersecting)) {
        watch.disconnect();
        resolve();
      }
    }, { rootMargin: "1200px" });
    watch.observe($("end"));
  });
}

function renderCrumbs() {
  const parts = folder ? folder.split("%2F") : [];
  const links = [createElement("a", { href: "#" }, library)];
  parts.forEach((part, i) => {
    let name = part;
    try {
      name = decodeURIComponent(part.replaceAll("+", " "));
    } catch { /* not UTF-8: show it escaped */ }
    links.push(createElement("i", { ariaHidden: "true" }, "/"), createElement("a", { href: `#${parts.slice(0, i + 1).join("%2F")}` }, name));
  });
  links.at(-1).ariaCurrent = "page";
  $("crumbs").replaceChildren(...links);
  $("crumbs").scrollLeft = $("crumbs").scrollWidth;
  document.title = parts.length ? `${links.at(-1).textContent} – thumbcache` : "thumbcache";
}

function goUp() {
  const cut = folder.lastIndexOf("%2F");
  location.hash = cut < 0 ? "" : folder.slice(0, cut);
}

addEventListener("hashchange", () => {
  // After going up, focus the folder that the user came from.
  const before = folder, now = location.hash.slice(1);
  const isUp = before !== now && (now === "" || before.startsWith(now + "%2F"));
  const child = isUp ? before.split("%2F").slice(0, now ? now.split("%2F").length + 1 : 1).join("%2F") : null;
  closeViewer();
  $("filter").value = "";
  scrollTo(0, 0);
  openFolder({ focus: child });
});

let typing = 0;
$("filter").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(openFolder, 150);
});

// ---- Keys

// Only the current tile is in the tab order; the arrow keys move from there.
let current = null;

function setCurrent(t) {
  const tab = (t, index) => {
    for (const link of t?.item.querySelectorAll("a") ?? []) link.tabIndex = index;
  };
  tab(current, -1);
  current = t ?? null;
  tab(current, 0);
}

function moveFocus(key) {
  const columns = getComputedStyle($("grid")).gridTemplateColumns.split(" ").length;
  const at = tiles.indexOf(current);
  const to = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - columns, ArrowDown: at + columns, Home: 0, End: tiles.length - 1 }[key];
  if (!document.activeElement?.closest("#grid")) {
    current?.link.focus(); // the first key press only shows the current tile
  } else if (tiles[to]) {
    tiles[to].link.focus();
  } else if (key === "ArrowDown") {
    tiles.at(-1)?.link.focus(); // below is a gap in the last row
  }
}

addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey) return;
  const inFilter = e.target === $("filter");
  if ($("box").open) {
    if (e.key === "Escape") {
      e.preventDefault(); // the dialog's own handling would close it later
      closeViewer();
    }
    const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1, " ": 1 }[e.key];
    if (!step || (e.key === " " && e.target.closest("button"))) return;
    e.preventDefault();
    showNeighbour(step);
  } else if (e.key === "/" && !inFilter) {
    e.preventDefault();
    $("filter").select();
    $("filter").focus();
  } else if (e.key === "Escape") {
    if ($("filter").value) {
      $("filter").value = "";
      openFolder({ focus: null });
    } else if (inFilter) {
      current?.link.focus();
    } else if (folder) {
      goUp();
    }
  } else if (inFilter) {
    if (e.key !== "ArrowDown" && e.key !== "Enter") return;
    e.preventDefault();
    current?.link.focus();
  } else if (/^(Arrow(Left|Right|Up|Down)|Home|End)$/.test(e.key) && !e.target.closest("summary, button")) {
    e.preventDefault();
    moveFocus(e.key);
  }
});

// ---- The viewer

let shown = null; // the tile in the viewer

function openViewer(t) {
  shown = t;
  const { entry } = t;
  // The background is a blurred copy of the grid's picture, or of its hash if that has not loaded.
  const glow = $("glow").getContext("2d");
  $("glow").width = $("glow").height = 32;
  if (t.img.naturalWidth) glow.drawImage(t.img, 0, 0, 32, 32);
  else if (entry.hash) paintHash($("glow"), decodeBase64(entry.hash));

  $("title").textContent = entry.name;
  $("about").textContent = formatFolder(entry) ?? "";
  const viewable = tiles.filter((t) => !t.failed && !t.entry.folder);
  $("previous").disabled = viewable[0] === t;
  $("next").disabled = viewable.at(-1) === t;

  // Keep the previous picture until the next one is decoded, to avoid flicker.
  const next = createElement("img", { id: "large", alt: entry.name, src: largeURL(entry) });
  next.decode().then(() => {
    if (shown !== t) return;
    $("large").replaceWith(next);
    $("about").textContent = [formatFolder(entry), `${next.naturalWidth} × ${next.naturalHeight}`, `${viewable.indexOf(t) + 1} of ${viewable.length}`].filter(Boolean).join(" · ");
  }, () => {
    if (shown === t) $("about").textContent = "cannot display this picture";
  });
  if (!$("box").open) {
    $("large").removeAttribute("src");
    $("box").showModal();
    $("box").focus(); // not a button, which the same press of Enter could activate
  }
  t.item.scrollIntoView({ block: "nearest" }); // this also fetches the next page of a long folder
}

function showNeighbour(step) {
  const viewable = tiles.filter((t) => !t.failed && !t.entry.folder);
  const next = viewable[viewable.indexOf(shown) + step];
  if (next) openViewer(next);
}

$("previous").addEventListener("click", () => showNeighbour(-1));
$("next").addEventListener("click", () => showNeighbour(1));
function closeViewer() {
  const t = shown;
  shown = null;
  $("box").close();
  t?.link.focus();
}

$("close").addEventListener("click", closeViewer);
$("box").addEventListener("close", closeViewer); // for example by the back gesture of a phone
let down = null;
$("box").addEventListener("pointerdown", (e) => { down = e; });
$("box").addEventListener("pointerup", (e) => {
  const dx = down ? e.clientX - down.clientX : 0;
  const swiped = Math.abs(dx) > 48;
  if (swiped) showNeighbour(dx < 0 ? 1 : -1);
  else if (!e.target.closest("button, figcaption, #large")) closeViewer(); // a click outside the picture
  down = null;
});

openFolder();
getJSON("about.json").then((about) => {
  library = about.name || library;
  renderCrumbs();
}, () => {});
