"use strict";

const $ = (id) => document.getElementById(id);

// make builds an element. Text goes in as text, whatever a file is called.
function make(tag, properties = {}, ...children) {
  const e = Object.assign(document.createElement(tag), properties);
  e.append(...children);
  return e;
}

async function getJSON(url) {
  const r = await fetch(url);
  if (!r.ok) throw new Error(await r.text());
  return r.json();
}

// ---- The gallery

function tile(entry) {
  const picture = make("div", { className: "picture" });
  const img = make("img", { loading: "lazy", decoding: "async", alt: "", width: 160, height: 160 });
  img.dataset.thumb = entry.thumb;
  img.srcset = `${entry.thumb}?size=160 160w, ${entry.thumb}?size=320 320w, ${entry.thumb}?size=640 640w`;
  img.sizes = "(max-width: 480px) 110px, 180px";
  img.addEventListener("error", async () => {
    // The server says in words what is the matter with it.
    const r = await fetch(`${entry.thumb}?size=160`).catch(() => null);
    if (r?.ok) { // it was busy
      img.srcset = img.srcset;
      return;
    }
    picture.classList.add("said");
    picture.replaceChildren(r ? (await r.text()).trim() : "the server does not answer");
  }, { once: true });
  picture.append(img);
  const caption = make("figcaption", {}, entry.name);
  if (entry.where) caption.append(make("small", {}, entry.where));
  const figure = make("figure", {}, picture, caption);
  const href = entry.folder ? `#${entry.folder}` : `${entry.thumb}?size=1280`;
  return make("li", { className: entry.folder ? "folder" : "" }, make("a", { href }, figure));
}

// Each listing is of one folder. The next part is fetched when the end of the page comes near.
let current = 0;

async function open() {
  const mine = ++current;
  const folder = location.hash.slice(1);
  crumbs(folder);
  $("grid").replaceChildren();
  $("end").textContent = "";
  let after = "";
  try {
    do {
      const page = await getJSON(`list.json?folder=${folder}&after=${after}`);
      if (mine !== current) return;
      $("grid").append(...page.entries.map(tile));
      after = page.next;
      if (after) await nearEnd();
    } while (after && mine === current);
    if (mine === current && !$("grid").hasChildNodes()) $("end").textContent = "There is nothing in this folder.";
  } catch (err) {
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

function crumbs(folder) {
  const parts = folder ? folder.split("%2F") : [];
  const links = [make("a", { href: "#" }, "All")];
  parts.forEach((part, i) => {
    let name = part;
    try {
      name = decodeURIComponent(part.replaceAll("+", " "));
    } catch { /* no UTF-8: shown as it is */ }
    links.push(" / ", make("a", { href: `#${parts.slice(0, i + 1).join("%2F")}` }, name));
  });
  $("crumbs").replaceChildren(...links);
}

// ---- The panel

const size = (n) => n < 1024 ? `${n} B` : n < 1 << 20 ? `${(n / 1024).toFixed(0)} KiB` : `${(n / (1 << 20)).toFixed(1)} MiB`;

const numbers = [
  ["from memory", (s) => s.memory_hits],
  ["from disk", (s) => s.disk_hits],
  ["made", (s) => s.misses],
  ["shared a flight", (s) => s.coalesced],
  ["known failures", (s) => s.negative_hits],
  ["extractions", (s) => s.extractions],
  ["processes", (s) => `${s.processes_running} / ${s.processes}`],
  ["in memory", (s) => size(s.memory_bytes)],
  ["on disk", (s) => size(s.disk_bytes)],
];

const cells = numbers.map(([name]) => {
  const value = make("dd", {}, "–");
  $("numbers").append(make("div", {}, make("dt", {}, name), value));
  return value;
});

function show(stats) {
  numbers.forEach(([, value], i) => { cells[i].textContent = value(stats); });
}

async function refresh() {
  if (document.visibilityState === "visible") await getJSON("stats.json").then(show, () => {});
  setTimeout(refresh, 1000);
}

// ---- The storm

$("fire").addEventListener("click", async () => {
  const targets = [...document.querySelectorAll("#grid img")].filter((i) => i.naturalWidth).slice(0, 10).map((i) => i.dataset.thumb);
  if (targets.length === 0) {
    $("result").textContent = "There is no picture here to ask for.";
    return;
  }
  $("fire").disabled = true;
  $("result").textContent = "…";
  const total = 500;
  // A size that is asked for here only, so that the first storm finds nothing ready.
  const size = 1280;
  const codes = new Map();
  const before = await getJSON("stats.json");
  const start = performance.now();
  let next = 0;
  await Promise.all(Array.from({ length: 50 }, async () => {
    while (next < total) {
      // The same picture is asked for many times in a row, as by a page of an album: most join the first one's flight.
      const url = `${targets[Math.floor(next++ * targets.length / total)]}?size=${size}`;
      const status = await fetch(url, { cache: "no-store" }).then((r) => r.arrayBuffer().then(() => r.status), () => "failed");
      codes.set(status, (codes.get(status) ?? 0) + 1);
    }
  }));
  const ms = Math.round(performance.now() - start);
  const after = await getJSON("stats.json");
  const d = (name) => after[name] - before[name];
  const answers = [...codes].map(([code, n]) => `${n} × ${code}`).join(", ");
  $("result").textContent = `${total} requests for ${targets.length} pictures in ${ms} ms (${answers}): ` +
    `${d("memory_hits")} from memory, ${d("disk_hits")} from disk, ${d("coalesced")} shared a flight, ${d("misses")} made ` +
    `by ${d("extractions")} extractions and ${d("processes")} processes.`;
  show(after);
  $("fire").disabled = false;
});

addEventListener("hashchange", open);
open();
refresh();
