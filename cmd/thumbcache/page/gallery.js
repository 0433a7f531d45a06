// The gallery: a grid of one folder, with a filter, a large view, and keys for all of it.
import { $, count, getJSON, make } from "./dom.js";
import { fromBase64, paint } from "./thumbhash.js";

// sized puts a size into the URL of a thumbnail. The grid shows the middle of what the large view shows whole, so that there
// is one thumbnail for both, and "thumbcache warm" makes it too.
const sized = (thumb, size) => thumb.replace("?size=0", `?size=${size}`);

const large = (entry) => sized(entry.thumb, 1280);

const isFilm = (name) => /\.(mp4|m4v|mkv|webm|mov|avi|ts|mpe?g|wmv|ogv)$/i.test(name);
const isPicture = (name) => /\.(jpe?g|png|gif|webp|bmp|tiff?|avif|heic)$/i.test(name);

// ---- Tiles

let tiles = []; // of the folder that is shown: { entry, item, link, picture, img, failed }

// Hashes are painted when their tile comes near the window: to paint thousands at once would take seconds.
const near = new IntersectionObserver((seen) => {
  for (const s of seen) {
    if (!s.isIntersecting) continue;
    near.unobserve(s.target);
    const canvas = s.target.querySelector("canvas");
    if (canvas) paint(canvas, fromBase64(canvas.dataset.hash));
  }
}, { rootMargin: "800px" });

function tile(entry) {
  const t = { entry, failed: false };
  t.picture = make("div", { className: "picture" });
  if (entry.hash) {
    const canvas = make("canvas", { width: 1, height: 1 });
    canvas.dataset.hash = entry.hash;
    t.picture.append(canvas);
    near.observe(t.picture);
  }
  const img = t.img = make("img", { loading: "lazy", decoding: "async", alt: "", width: 160, height: 160 });
  img.sizes = "(max-width: 560px) 31vw, 190px";
  img.srcset = [160, 320, 640].map((size) => `${sized(entry.thumb, size)} ${size}w`).join(", ");
  img.addEventListener("load", () => t.picture.classList.add("loaded"));
  img.addEventListener("error", () => explain(t), { once: true });
  t.picture.append(img);
  if (isFilm(entry.name)) t.picture.append(make("i", { className: "film" }));
  t.link = make("a", { href: entry.folder ? `#${entry.folder}` : large(entry), tabIndex: -1 }, t.picture, make("span", { className: "name", title: entry.name }, entry.name));
  t.link.addEventListener("focus", () => setCurrent(t));
  t.link.addEventListener("click", (e) => {
    if (entry.folder || e.ctrlKey || e.metaKey || e.shiftKey) return; // the browser knows best
    e.preventDefault();
    if (!t.failed) view(t);
  });
  t.item = make("li", { className: entry.folder ? "folder" : "" }, t.link);
  if (entry.where) t.item.append(make("a", { className: "where", href: `#${entry.open}`, title: `Open ${entry.where}`, tabIndex: -1 }, place(entry)));
  return t;
}

// place tells which folder an entry of a flat listing is in.
const place = (entry) => entry.where?.replaceAll("/", " / ");

// explain says in the server's words why there is no picture. Words are what it answers then.
async function explain(t) {
  const r = await fetch(sized(t.entry.thumb, 160)).catch(() => null);
  if (r?.ok && r.headers.get("Content-Type").startsWith("image/")) { // it was busy
    t.img.srcset = t.img.srcset;
    return;
  }
  t.failed = true;
  t.picture.classList.add("failed");
  const why = r ? (await r.text()).trim() : "the server does not answer";
  const sign = t.entry.folder ? "" : isFilm(t.entry.name) ? "▶" : isPicture(t.entry.name) ? "▧" : "♪";
  t.picture.replaceChildren(make("b", { ariaHidden: "true" }, sign), make("span", {}, why));
}

// ---- The listing

// Each listing is of one folder. The next part is fetched when the end of the page comes near.
let listing = 0;
let folder = "";
let library = "All";

async function open({ focus } = {}) {
  const mine = ++listing;
  folder = location.hash.slice(1);
  const filter = encodeURIComponent($("filter").value.trim());
  crumbs();
  $("end").textContent = "";
  let after = "";
  let first = true;
  try {
    do {
      const page = await getJSON(`list.json?folder=${folder}&filter=${filter}&after=${after}`);
      if (mine !== listing) return;
      if (first) near.disconnect(); // from the tiles of before
      const added = page.entries.map(tile);
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
      if (after) await nearEnd();
    } while (after && mine === listing);
    if (mine !== listing) return;
    $("end").textContent = tiles.length > 0 ? (tiles.length > 24 ? `${count(tiles.length)} entries` : "") :
      filter ? "Nothing here has that in its name." : "There is nothing in this folder.";
  } catch (err) {
    if (mine !== listing) return;
    tiles = [];
    $("grid").replaceChildren();
    $("end").textContent = err.message;
  }
}

function nearEnd() {
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

function crumbs() {
  const parts = folder ? folder.split("%2F") : [];
  const links = [make("a", { href: "#" }, library)];
  parts.forEach((part, i) => {
    let name = part;
    try {
      name = decodeURIComponent(part.replaceAll("+", " "));
    } catch { /* no UTF-8: shown as it is */ }
    links.push(make("i", { ariaHidden: "true" }, "/"), make("a", { href: `#${parts.slice(0, i + 1).join("%2F")}` }, name));
  });
  links.at(-1).ariaCurrent = "page";
  $("crumbs").replaceChildren(...links);
  $("crumbs").scrollLeft = $("crumbs").scrollWidth;
  document.title = parts.length ? `${links.at(-1).textContent} – thumbcache` : "thumbcache";
}

function up() {
  const cut = folder.lastIndexOf("%2F");
  location.hash = cut < 0 ? "" : folder.slice(0, cut);
}

addEventListener("hashchange", () => {
  // Who goes up stands on the folder that was left.
  const before = folder, now = location.hash.slice(1);
  const isUp = before !== now && (now === "" || before.startsWith(now + "%2F"));
  const child = isUp ? before.split("%2F").slice(0, now ? now.split("%2F").length + 1 : 1).join("%2F") : null;
  shut();
  $("filter").value = "";
  scrollTo(0, 0);
  open({ focus: child });
});

let typing = 0;
$("filter").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(open, 150);
});

// ---- Keys

// One tile at a time can be reached with Tab; the arrow keys go on from there.
let current = null;

function setCurrent(t) {
  const tab = (t, index) => {
    for (const link of t?.item.querySelectorAll("a") ?? []) link.tabIndex = index;
  };
  tab(current, -1);
  current = t ?? null;
  tab(current, 0);
}

function move(key) {
  const columns = getComputedStyle($("grid")).gridTemplateColumns.split(" ").length;
  const at = tiles.indexOf(current);
  const to = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - columns, ArrowDown: at + columns, Home: 0, End: tiles.length - 1 }[key];
  if (!document.activeElement?.closest("#grid")) {
    current?.link.focus(); // the first key only shows where one stands
  } else if (tiles[to]) {
    tiles[to].link.focus();
  } else if (key === "ArrowDown") {
    tiles.at(-1)?.link.focus(); // the last row is not full
  }
}

addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey) return;
  const inFilter = e.target === $("filter");
  if ($("box").open) {
    if (e.key === "Escape") {
      e.preventDefault(); // by itself the dialog closes some time later
      shut();
    }
    const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1, " ": 1 }[e.key];
    if (!step || (e.key === " " && e.target.closest("button"))) return;
    e.preventDefault();
    turn(step);
  } else if (e.key === "/" && !inFilter) {
    e.preventDefault();
    $("filter").select();
    $("filter").focus();
  } else if (e.key === "Escape") {
    if ($("filter").value) {
      $("filter").value = "";
      open({ focus: null });
    } else if (inFilter) {
      current?.link.focus();
    } else if (folder) {
      up();
    }
  } else if (inFilter) {
    if (e.key !== "ArrowDown" && e.key !== "Enter") return;
    e.preventDefault();
    current?.link.focus();
  } else if (/^(Arrow(Left|Right|Up|Down)|Home|End)$/.test(e.key) && !e.target.closest("summary, button")) {
    e.preventDefault();
    move(e.key);
  }
});

// ---- The large view

let shown = null;

function view(t) {
  shown = t;
  const { entry } = t;
  // The light around it is the picture itself, which is there already, or what its hash tells of it.
  const glow = $("glow").getContext("2d");
  $("glow").width = $("glow").height = 32;
  if (t.img.naturalWidth) glow.drawImage(t.img, 0, 0, 32, 32);
  else if (entry.hash) paint($("glow"), fromBase64(entry.hash));

  $("title").textContent = entry.name;
  $("about").textContent = place(entry) ?? "";
  const viewable = tiles.filter((t) => !t.failed && !t.entry.folder);
  $("previous").disabled = viewable[0] === t;
  $("next").disabled = viewable.at(-1) === t;

  // The one before stays until the next is ready, so that nothing flickers.
  const next = make("img", { id: "large", alt: entry.name, src: large(entry) });
  next.decode().then(() => {
    if (shown !== t) return;
    $("large").replaceWith(next);
    $("about").textContent = [place(entry), `${next.naturalWidth} × ${next.naturalHeight}`, `${viewable.indexOf(t) + 1} of ${viewable.length}`].filter(Boolean).join(" · ");
  }, () => {
    if (shown === t) $("about").textContent = "this picture cannot be shown";
  });
  if (!$("box").open) {
    $("large").removeAttribute("src");
    $("box").showModal();
    $("box").focus(); // and none of its buttons, which the same Enter might press
  }
  t.item.scrollIntoView({ block: "nearest" }); // and so the next part of a long folder is fetched
}

function turn(step) {
  const viewable = tiles.filter((t) => !t.failed && !t.entry.folder);
  const next = viewable[viewable.indexOf(shown) + step];
  if (next) view(next);
}

$("previous").addEventListener("click", () => turn(-1));
$("next").addEventListener("click", () => turn(1));
function shut() {
  const t = shown;
  shown = null;
  $("box").close();
  t?.link.focus();
}

$("close").addEventListener("click", shut);
$("box").addEventListener("close", shut); // with the back gesture of a phone, say
let down = null;
$("box").addEventListener("pointerdown", (e) => { down = e; });
$("box").addEventListener("pointerup", (e) => {
  const dx = down ? e.clientX - down.clientX : 0;
  const swiped = Math.abs(dx) > 48;
  if (swiped) turn(dx < 0 ? 1 : -1);
  else if (!e.target.closest("button, figcaption, #large")) shut(); // beside the picture
  down = null;
});

open();
getJSON("about.json").then((about) => {
  library = about.name || library;
  crumbs();
}, () => {});
