// The gallery: a grid of one folder with a filter, sorting and keyboard navigation.
import { $, createElement, formatCount, formatTags, getJSON } from "./dom.js";
import { decodeValue, onState, readState, resetState, setState } from "./state.js";
import { decodeBase64, paintHash } from "./thumbhash.js";
import { closeViewer, isViewerOpen, pressViewerKey, showInViewer } from "./viewer.js";

// setSize returns the URL of a thumbnail with a size in pixels. The grid crops thumbnails with CSS instead of requesting
// squares. So the grid and the viewer share one kind of thumbnail, which is also the one that "thumbcache warm" makes.
const setSize = (thumb, size) => thumb.replace("?size=0", `?size=${size}`);

// largeURL returns the URL of the picture in the viewer.
export const largeURL = (entry) => setSize(entry.thumb, 1280);

// ---- Tiles

let tiles = []; // of the current folder: { entry, item, link, picture, img, failure }

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
  const t = { entry, failure: "" };
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
  if (entry.kind === "video") t.picture.append(createElement("i", { className: "film" }));
  t.link = createElement("a", { href: entry.folder ? `#${entry.folder}` : largeURL(entry), tabIndex: -1 }, t.picture, createElement("span", { className: "name", title: entry.name, dir: "auto" }, entry.name));
  if (entry.tags) t.link.append(createElement("span", { className: "tags", dir: "auto" }, formatTags(entry.tags)));
  t.link.addEventListener("focus", () => setCurrent(t));
  t.link.addEventListener("click", (e) => {
    if (e.ctrlKey || e.metaKey || e.shiftKey) return; // let the browser open a new tab or window
    e.preventDefault();
    if (entry.folder) openFolder(entry.folder);
    else setState({ open: entry.id });
  });
  t.item = createElement("li", { className: entry.folder ? "folder" : "" }, t.link);
  if (entry.where) {
    const where = createElement("a", { className: "where", href: `#${entry.open}`, title: `Open ${entry.where}`, tabIndex: -1, dir: "auto" }, formatFolder(entry));
    where.addEventListener("click", (e) => {
      if (e.ctrlKey || e.metaKey || e.shiftKey) return;
      e.preventDefault();
      openFolder(entry.open);
    });
    t.item.append(where);
  }
  return t;
}

// openFolder shows a folder in the same order, without the filter.
const openFolder = (folder) => setState({ folder, filter: "", open: "" });

// formatFolder returns the folder of an entry in a flat listing, for display.
export const formatFolder = (entry) => entry.where?.replaceAll("/", " / ");

// signOf returns the sign that stands for a file without a picture.
export const signOf = (entry) => ({ video: "▶", image: "▧", audio: "♪" })[entry.kind] ?? (entry.folder ? "" : "≡");

// fetchReason returns the text that the server has sent instead of a picture, or "" if it sends a picture now. The text is in
// the browser's cache, unless the reason is temporary.
export async function fetchReason(url) {
  const r = await fetch(url, { cache: "force-cache" }).catch(() => null);
  if (!r) return "the server is not responding";
  return r.headers.get("Content-Type").startsWith("image/") ? "" : (await r.text()).trim();
}

// showFailure replaces a picture by the reason why there is none.
async function showFailure(t) {
  t.failure = await fetchReason(t.img.currentSrc);
  const isExpected = !t.entry.kind && /^(unsupported|no picture)/.test(t.failure); // of a text file, say
  if (!t.failure) { // the first attempt failed because the server was busy
    t.img.srcset = t.img.srcset;
    return;
  }
  t.picture.classList.add("failed");
  t.picture.replaceChildren(createElement("b", { ariaHidden: "true" }, signOf(t.entry)), createElement("span", {}, isExpected ? "" : t.failure));
}

// ---- The listing

// The server returns a long folder in pages. The next one is fetched when the user scrolls near the end, or to find the
// picture to open.
const batch = 60; // tiles added at once while the user scrolls; 300 are laid out in 100 ms, which would be noticed
let listing = 0; // number of the current listing; responses to older ones are dropped
let stopListing = new AbortController(); // ends the request of the current listing
let shown = { folder: "", filter: "", sort: "" }; // the state of that listing
let library = "All";
let total = 0; // entries of the current listing
let partial = false; // the search has not seen the whole library
let reading = false; // the server is still reading the tags that the search looks at
let version = ""; // of the first page; "" if it could not be fetched
let next = ""; // the start of the next page; "" if all have been fetched
let isFetching = false; // the first page of the listing
let isFilling = false; // a later page of it is being fetched and added
let isLost = false; // the listing could not be fetched because the server did not respond

async function showListing(state, focus) {
  const mine = ++listing;
  stopListing.abort();
  const { signal } = stopListing = new AbortController();
  const { filter, sort } = shown = state;
  isLost = isFilling = false;
  renderCrumbs();
  $("end").textContent = "";
  $("sort").value = sort;
  if (document.activeElement !== $("filter")) $("filter").value = filter;
  next = version = "";
  isFetching = true;
  watch();
  let isFirst = true;
  try {
    do {
      isFilling = !isFirst;
      const page = await getJSON(listURL(state, next), { signal });
      if (mine !== listing) return;
      if (isFirst) {
        tiles = page.entries.map(createTile);
        $("grid").replaceChildren(...tiles.map((t) => t.item));
        setCurrent(tiles[0]);
        if (focus !== undefined) (tiles.find((t) => t.entry.folder === focus) ?? tiles[0])?.link.focus();
        setFacts(page);
        isFirst = isFetching = false;
      } else {
        for (let i = 0; i < page.entries.length; i += batch) {
          const added = page.entries.slice(i, i + batch).map(createTile);
          tiles.push(...added);
          $("grid").append(...added.map((t) => t.item));
          await new Promise(requestAnimationFrame);
          if (mine !== listing) return;
        }
      }
      isFilling = false;
      next = page.next ?? "";
      applyOpen();
      compareVersions();
      if (next) await waitForEnd();
    } while (next && mine === listing);
    if (mine !== listing) return;
    $("end").textContent = describeEnd(filter);
  } catch (err) {
    if (mine !== listing) return;
    isFetching = isFilling = false;
    tiles = [];
    $("grid").replaceChildren();
    $("count").textContent = "";
    isLost = err instanceof TypeError; // the error of fetch without a response
    $("end").textContent = isLost ? "The server is not responding." : err.message;
    setTimeout(compareVersions, retryInterval);
  }
}

// setFacts remembers and shows what the first page says about the whole listing.
function setFacts(page) {
  ({ total, partial, reading, version } = page);
  $("count").textContent = total === 0 ? "" : total === 1 ? "1 entry" : `${formatCount(total)} entries`;
}

// updateListing fetches the listing again, as far as it has been fetched, and keeps the tiles that have not changed. It returns
// whether it has; the user may have scrolled or gone elsewhere meanwhile.
async function updateListing() {
  const mine = listing;
  const { signal } = stopListing;
  const entries = [];
  let first, after = "";
  do {
    const page = await getJSON(listURL(shown, after), { signal });
    if (mine !== listing || isFilling) return false;
    first ??= page;
    entries.push(...page.entries);
    after = page.next ?? "";
  } while (after && (entries.length < tiles.length || !next));
  const old = new Map(tiles.map((t) => [t.entry.thumb, t]));
  const focused = document.activeElement;
  const hadFocus = focused.closest("#grid");
  tiles = entries.map((entry) => old.get(entry.thumb) ?? createTile(entry));
  next = after;
  $("grid").replaceChildren(...tiles.map((t) => t.item));
  if (!tiles.includes(current)) setCurrent(tiles.find((t) => t.entry.id === current?.entry.id) ?? tiles[0]); // a file that has changed has a new tile
  if (focused.isConnected) focused.focus({ preventScroll: true });
  else if (hadFocus) current?.link.focus({ preventScroll: true });
  setFacts(first);
  applyOpen();
  if (!next) $("end").textContent = describeEnd(shown.filter);
  return true;
}

// ---- Changes

const retryInterval = 2000; // ms
let events = null; // the server's messages about the folder that is shown
let announced = null; // the version in the last message, until it has been compared
let isUpdating = false;

// watch listens for changes of the folder that is shown, except in a search or a hidden tab.
function watch() {
  events?.close();
  events = announced = null;
  if (document.visibilityState !== "visible" || shown.filter) return;
  const mine = events = new EventSource(`events?folder=${shown.folder}&sort=${shown.sort}`);
  mine.onmessage = (e) => {
    announced = e.data;
    compareVersions();
  };
  mine.onerror = () => { // the browser connects again, except after a response with an error
    if (mine.readyState === EventSource.CLOSED) setTimeout(() => mine === events && watch(), retryInterval);
  };
}

// compareVersions updates the listing if its folder has changed.
async function compareVersions() {
  if (announced === null || isFetching || isFilling || isUpdating) return;
  const now = announced;
  announced = null;
  if (now === version) return;
  if (!now || !version) { // the folder can no longer be read, or can be read again
    showListing(shown);
    return;
  }
  const mine = listing;
  isUpdating = true;
  try {
    if (!await updateListing() && mine === listing) announced ??= now;
  } catch { /* the panel says that the connection is lost */ }
  isUpdating = false;
  compareVersions();
}

// While the server reads tags, a search finds more and more.
setInterval(() => {
  if (document.visibilityState === "visible" && shown.filter && reading && !isFetching) updateListing().catch(() => {});
}, retryInterval);

document.addEventListener("visibilitychange", watch);

// listURL returns the URL of a page of a listing. A filter searches the folder and those below it.
const listURL = ({ folder, filter, sort }, after) => `list.json?folder=${folder}&search=${encodeURIComponent(filter)}&sort=${encodeURIComponent(sort)}&after=${after}`;

function describeEnd(filter) {
  if (reading && filter) return "The tags of the library are being read. More songs may appear.";
  if (tiles.length === 0) return filter ? (partial ? "Nothing was found in the part of the library that could be searched in time." : "Nothing matches.") : "This folder is empty.";
  if (tiles.length < total) return `These are the first ${formatCount(tiles.length)} of ${formatCount(total)}.`;
  return partial ? "Only a part of the library could be searched in time." : "";
}

let stopWaiting = () => {};

// waitForEnd waits until the end of the grid is near the window, or stopWaiting is called.
function waitForEnd() {
  return new Promise((resolve) => {
    const watch = new IntersectionObserver((seen) => {
      if (seen.some((e) => e.isIntersecting)) stopWaiting();
    }, { rootMargin: "1200px" });
    stopWaiting = () => {
      watch.disconnect();
      resolve();
    };
    watch.observe($("end"));
  });
}

addEventListener("reconnected", () => {
  if (isLost) showListing(shown);
});

function renderCrumbs() {
  const parts = shown.folder ? shown.folder.split("%2F") : [];
  const links = [createElement("a", { href: "#", dir: "auto" }, library)];
  parts.forEach((part, i) => {
    links.push(createElement("i", { ariaHidden: "true" }, "/"), createElement("a", { href: `#${parts.slice(0, i + 1).join("%2F")}`, dir: "auto" }, decodeValue(part)));
  });
  links.at(-1).ariaCurrent = "page";
  $("crumbs").replaceChildren(...links);
  $("crumbs").scrollLeft = $("crumbs").scrollWidth;
  $("heading").textContent = links.at(-1).textContent;
  document.title = parts.length ? `${links.at(-1).textContent} – thumbcache` : "thumbcache";
}

// A link in the breadcrumb keeps the order.
$("crumbs").addEventListener("click", (e) => {
  const link = e.target.closest("a");
  if (!link || e.ctrlKey || e.metaKey || e.shiftKey) return;
  e.preventDefault();
  openFolder(link.hash.slice(1));
});

function goUp() {
  const cut = shown.folder.lastIndexOf("%2F");
  openFolder(cut < 0 ? "" : shown.folder.slice(0, cut));
}

// applyState shows what the URL says.
function applyState() {
  const state = readState();
  const before = shown;
  if (state.folder === before.folder && state.filter === before.filter && state.sort === before.sort) {
    applyOpen();
    return;
  }
  let focus;
  if (state.folder !== before.folder && before.sort) {
    // After going up, focus the folder that the user came from.
    const isUp = state.folder === "" || before.folder.startsWith(state.folder + "%2F");
    focus = isUp ? before.folder.split("%2F").slice(0, state.folder ? state.folder.split("%2F").length + 1 : 1).join("%2F") : null;
    closeViewer();
    scrollTo(0, 0);
  } else if (before.filter && !state.filter && document.activeElement !== $("filter")) {
    focus = null;
  }
  showListing(state, focus);
}

const maxSearched = 20_000; // tiles; a link to a picture that is further down opens its folder only

// applyOpen opens the picture that the URL names. If it is on a later page of the listing, it fetches that.
function applyOpen() {
  const { open } = readState();
  const t = open && tiles.find((t) => t.entry.id === open && !t.entry.folder);
  if (t) {
    showInViewer(t, tiles.filter((t) => !t.entry.folder));
    t.item.scrollIntoView({ block: "nearest" }); // this also fetches the next page of a long folder
  } else {
    closeViewer();
    if (open && next && tiles.length < maxSearched) queueMicrotask(() => stopWaiting());
  }
}

let typing = 0;
$("filter").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    const filter = $("filter").value.trim();
    setState({ filter }, { replace: shown.filter !== "" });
  }, 150);
});

$("sort").addEventListener("change", () => setState({ sort: $("sort").value }));

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
  if (isViewerOpen()) {
    pressViewerKey(e);
  } else if (e.key === "/" && !inFilter) {
    e.preventDefault();
    $("filter").select();
    $("filter").focus();
  } else if (e.key === "Escape") {
    clearTimeout(typing);
    if ($("filter").value) {
      $("filter").value = "";
      if (inFilter) $("filter").blur();
      if (shown.filter) resetState("filter");
    } else if (inFilter) {
      current?.link.focus();
    } else if (shown.folder) {
      goUp();
    }
  } else if (inFilter) {
    if (e.key !== "ArrowDown" && e.key !== "Enter") return;
    e.preventDefault();
    current?.link.focus();
  } else if (/^(Arrow(Left|Right|Up|Down)|Home|End)$/.test(e.key) && !e.target.closest("summary, button, select")) {
    e.preventDefault();
    moveFocus(e.key);
  }
});

history.scrollRestoration = "manual"; // the grid is filled later than the browser would scroll
onState(applyState);
getJSON("about.json").then((about) => {
  library = about.name || library;
  renderCrumbs();
}, () => {});
