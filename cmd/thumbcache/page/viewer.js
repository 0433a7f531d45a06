// The viewer: one picture in the whole window, with its original and an explanation of where it came from.
import { $, createElement, formatBytes, getJSON } from "./dom.js";
import { fetchReason, formatFolder, largeURL, signOf } from "./gallery.js";
import { resetState, setState } from "./state.js";
import { decodeBase64, paintHash } from "./thumbhash.js";

let shown = null; // the tile in the viewer
let tiles = []; // those that the viewer can move to

export const isViewerOpen = () => $("box").open;

// showInViewer opens the viewer, or changes its picture.
export function showInViewer(t, all) {
  tiles = all;
  updateButtons(t);
  if (shown === t) return; // only more tiles have been loaded
  shown = t;
  const { entry } = t;
  // The background is a blurred copy of the grid's picture, or of its hash if that has not loaded.
  const glow = $("glow").getContext("2d");
  $("glow").width = $("glow").height = 32;
  if (t.img.naturalWidth) glow.drawImage(t.img, 0, 0, 32, 32);
  else if (entry.hash) paintHash($("glow"), decodeBase64(entry.hash));

  $("title").textContent = entry.name;
  $("title").dir = "auto";
  $("original").hidden = !entry.original;
  $("original").disabled = false;
  $("original").textContent = entry.kind === "image" ? "Show original" : "Play";
  setExplanation(null);
  describe(t);
  showTags(t);
  const isOpening = !$("box").open;
  if (isOpening || t.failure) $("stage").replaceChildren();
  if (t.failure) {
    showReason(t, t.failure);
    explain();
  } else {
    // Keep the previous picture until the next one is decoded, to avoid flicker.
    const next = createElement("img", { id: "large", alt: entry.name, src: largeURL(entry) });
    next.decode().then(() => {
      if (shown !== t) return;
      $("stage").replaceChildren(next);
      describe(t, next);
      markDamage(t);
    }, async () => {
      const reason = await fetchReason(next.src);
      if (shown !== t) return;
      showReason(t, reason || "the browser cannot display this picture");
      explain();
    });
  }
  if (isOpening) {
    $("box").showModal();
    $("box").focus(); // not a button, which the same press of Enter could activate
  }
}

function updateButtons(t) {
  $("previous").disabled = tiles[0] === t;
  $("next").disabled = tiles.at(-1) === t;
}

const dateFormat = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "short" });

// showTags shows what the tags of a song or film say.
async function showTags(t) {
  const { entry } = t;
  $("tags").replaceChildren();
  $("tags").hidden = entry.kind !== "audio"; // a song without tags is rare, so keep the place for them
  if (entry.kind !== "audio" && entry.kind !== "video") return;
  t.tags ??= await getJSON(`tags.json?path=${entry.id}`).catch(() => null);
  if (shown !== t || !t.tags) return;
  const { title, artist, album, album_artist: albumArtist, date, track, genre } = t.tags;
  const rest = [
    albumArtist && albumArtist !== artist && `album by ${albumArtist}`,
    track && `track ${track}`,
    date,
    genre,
  ];
  const texts = [title, artist, album, ...rest].filter(Boolean);
  $("tags").hidden = texts.length === 0;
  $("tags").replaceChildren(...texts.map((text) => createElement("span", { dir: "auto" }, text)));
}

// describe shows the facts about a file, and the size in pixels of the picture that is displayed.
function describe(t, img) {
  const { entry } = t;
  $("about").replaceChildren(...[
    formatFolder(entry),
    img && `${img.naturalWidth} × ${img.naturalHeight}`,
    entry.size !== undefined && formatBytes(entry.size),
    entry.modified && dateFormat.format(new Date(entry.modified)),
    `${tiles.indexOf(t) + 1} of ${tiles.length}`,
  ].filter(Boolean).map((text) => createElement("span", { dir: "auto" }, text)));
}

// markDamage says so if a part of the picture is missing.
async function markDamage(t) {
  const x = await getJSON(`explain.json?path=${t.entry.id}`).catch(() => null);
  if (shown === t && x?.picture?.damaged) $("about").append(createElement("span", { className: "damage" }, "damaged: a part of the picture is missing"));
}

// showReason shows why there is no picture.
function showReason(t, text) {
  $("stage").replaceChildren(createElement("p", { className: "reason" }, createElement("b", { ariaHidden: "true" }, signOf(t.entry)), text));
}

// ---- The original

// showOriginal shows the original image, or plays the song or film.
function showOriginal() {
  const t = shown;
  const { entry } = t;
  $("original").disabled = true; // hiding it would move the button beside it
  if (entry.kind === "image") {
    const img = createElement("img", { id: "large", className: "original", alt: entry.name, src: entry.original });
    img.decode().then(() => {
      if (shown !== t) return;
      $("stage").replaceChildren(img);
      describe(t, img);
    }, () => {
      if (shown === t) offerDownload(t, "This browser cannot display the original.");
    });
    return;
  }
  const player = createElement(entry.kind, { id: "player", controls: true, autoplay: true, src: entry.original, ariaLabel: entry.name });
  player.addEventListener("error", () => {
    if (shown === t) offerDownload(t, `This browser cannot play the ${entry.kind === "audio" ? "song" : "film"}.`);
  });
  if (entry.kind === "audio") {
    $("player")?.remove();
    $("stage").append(player); // below the cover
  } else {
    if (t.img.naturalWidth) player.poster = largeURL(entry);
    $("stage").replaceChildren(player);
  }
  player.focus();
}

function offerDownload(t, text) {
  $("player")?.remove();
  $("stage").append(createElement("p", { className: "note" }, text, " ", createElement("a", { href: t.entry.original, download: t.entry.name }, "Download it")));
}

$("original").addEventListener("click", showOriginal);

// ---- The explanation

const origins = {
  memory: "from the server's memory",
  disk: "from the server's disk",
  shared: "from the shared tier",
  made: "made for this request",
  joined: "joined a request that was already running",
  failure: "remembered failure",
  "": "failed",
};

const stageNames = {
  queue: "wait for a worker",
  lease: "wait for another machine",
  stat: "check the file",
  open: "open it",
  extract: "find the picture",
  rescue: "decode it with ffmpeg",
  render: "scale and encode",
  store: "store on disk",
};

const formatSeconds = (s) => s < 0.001 ? `${Math.round(s * 1e6)} µs` : s < 1 ? `${Number((s * 1000).toPrecision(3))} ms` : `${s.toFixed(1)} s`;

// describePicture says which picture of the file a thumbnail was made of.
function describePicture({ from, name, number, of, damaged }) {
  const embedded = of === 1 ? "the only picture in the file" : `number ${number} of ${of} pictures in the file`;
  const text = { file: "the file itself", embedded, beside: `${name}, beside the file`, frame: "a frame of the film" }[from]
    ?? (of === 1 ? "the only one in the file cannot be decoded" : `none of the ${of} in the file can be decoded`);
  return damaged ? `${text}; a part of it is missing` : text;
}

// explain shows where the picture came from, and how long each step took.
async function explain() {
  const t = shown;
  let x;
  try {
    x = await getJSON(`explain.json?path=${t.entry.id}`);
  } catch (err) {
    x = { answers: [], stages: [], stored: [], error: err instanceof TypeError ? "The server is not responding." : err.message };
  }
  if (shown !== t) return;
  const rows = [];
  const add = (name, value, className = "") => rows.push(createElement("div", { className }, createElement("dt", {}, name), createElement("dd", {}, value)));
  if (x.error) add("Error", x.error);
  const large = performance.getEntriesByName(new URL(largeURL(t.entry), location.href).href).at(-1);
  if (!t.failure && large?.transferSize === 0 && large.decodedBodySize > 0) add("1280 px", "from the browser's cache, without a request");
  for (const a of x.answers.toSorted((a, b) => b.size - a.size)) {
    add(`${a.size} px`, `${origins[a.origin] ?? a.origin}, ${formatSeconds(a.seconds)}${a.error ? `: ${a.error}` : ""}`);
  }
  if (x.answers.length === 0 && rows.length === 0) add("Origin", "the browser's cache; this server has not been asked");
  if (x.picture) add("Picture", describePicture(x.picture));
  const longest = Math.max(...x.stages.map((s) => s.seconds));
  for (const s of x.stages) {
    add(stageNames[s.stage] ?? s.stage, s.error ? `${formatSeconds(s.seconds)}: ${s.error}` : formatSeconds(s.seconds), "step");
    rows.at(-1).style.setProperty("--share", s.seconds / longest);
  }
  const pictures = x.stored.filter((s) => s.holds === "picture");
  for (const [name, files] of [["On disk", pictures], ["Failure on disk", x.stored.filter((s) => s.holds !== "picture")]]) {
    if (files.length === 0) continue;
    const sizes = files === pictures ? `${[...new Set(files.map((s) => s.size))].join(", ")} px, ` : "";
    add(name, `${sizes}since ${dateFormat.format(new Date(files[0].made))}`);
  }
  setExplanation(rows);
}

// setExplanation shows the rows of an explanation, or hides it if rows is null.
function setExplanation(rows) {
  $("explanation").hidden = !rows;
  $("explanation").replaceChildren(...rows ?? []);
  $("explain").ariaExpanded = String(!!rows);
}

$("explain").addEventListener("click", () => {
  if ($("explanation").hidden) explain();
  else setExplanation(null);
});

// ---- Moving and closing

function showNeighbour(step) {
  const next = tiles[tiles.indexOf(shown) + step];
  if (next) setState({ open: next.entry.id }, { replace: true });
}

// pressViewerKey handles a key while the viewer is open.
export function pressViewerKey(e) {
  if (e.key === "Escape") {
    e.preventDefault(); // the dialog's own handling would close it later
    resetState("open");
  } else if (e.key === "i") {
    $("explain").click();
  }
  const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1, " ": 1 }[e.key];
  if (!step || e.target.closest("video, audio") || (e.key === " " && e.target.closest("button, a"))) return;
  e.preventDefault();
  showNeighbour(step);
}

// closeViewer closes the viewer, if it is open, and stops what it plays.
export function closeViewer() {
  if (!shown) return;
  const t = shown;
  shown = null;
  $("stage").replaceChildren();
  $("box").close();
  t.link.focus();
}

$("previous").addEventListener("click", () => showNeighbour(-1));
$("next").addEventListener("click", () => showNeighbour(1));
$("close").addEventListener("click", () => resetState("open"));
$("box").addEventListener("close", () => { // for example by the back gesture of a phone
  if (shown && !$("box").open) resetState("open");
});
let down = null;
$("box").addEventListener("pointerdown", (e) => { down = e.target.closest("#player, #explanation") ? null : e; });
$("box").addEventListener("pointerup", (e) => {
  const dx = down ? e.clientX - down.clientX : 0;
  const swiped = Math.abs(dx) > 48;
  if (swiped) showNeighbour(dx < 0 ? 1 : -1);
  else if (down && !e.target.closest("button, a, figcaption, #large, #player, .reason, .note")) resetState("open"); // a click outside the picture
  down = null;
});
