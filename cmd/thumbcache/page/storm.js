// The request storm: sends many requests at once, with or without the cache, and shows how long each one took.
import { $, createElement, createSVG, formatCount, formatRough, getJSON } from "./dom.js";
import { refresh, setRefreshInterval, tiers } from "./live.js";
import { readState } from "./state.js";

const total = 500; // requests
const pictures = 10; // distinct pictures among the requests
const connections = 6; // concurrent requests; browsers open no more connections to one host, and queue the rest
const size = 1280; // in pixels; larger than the thumbnails of the grid
const timeLimit = 15_000; // ms; without the cache a storm can take minutes

// The classes of response times: CSS class, label and upper bound in ms.
const times = [
  ["t0", "≤ 5 ms", 5],
  ["t1", "≤ 25 ms", 25],
  ["t2", "≤ 100 ms", 100],
  ["t3", "≤ 500 ms", 500],
  ["t4", "> 500 ms", Infinity],
];

const speed = {}; // answers per second, by the id of the storm

// findTargets returns the first pictures that the grid has loaded. If the grid contains only folders, it returns media files
// in the first of them.
async function findTargets() {
  const path = (url) => new URL(url, location.href).pathname.replace(/^.*?\/thumb\/[^/]*\//, "");
  const seen = [...document.querySelectorAll("#grid li:not(.folder) a:first-child")].filter((a) => a.querySelector("img")?.naturalWidth);
  if (seen.length > 0) return seen.slice(0, pictures).map((a) => ({ path: path(a.href), name: a.querySelector(".name").textContent }));
  let { folder } = readState();
  for (let depth = 0; depth < 5; depth++) {
    const { entries } = await getJSON(`list.json?folder=${folder}`);
    const media = entries.filter((e) => !e.folder && e.kind);
    if (media.length > 0) return media.slice(0, pictures).map((e) => ({ path: path(e.thumb), name: e.name }));
    folder = entries.find((e) => e.folder)?.folder;
    if (!folder) break;
  }
  return [];
}

// runStorm sends the requests and displays the result. url returns the URL for the path of a picture. part selects the
// statistics of the cache that serves those URLs.
async function runStorm({ id, title, note, url, part }) {
  $("versus").textContent = "";
  const buttons = document.querySelectorAll("#storm button");
  for (const b of buttons) b.disabled = true;
  setRefreshInterval(250);
  let r;
  try {
    const targets = await findTargets();
    if (targets.length === 0) throw new Error("There are no pictures here to request.");
    r = createResult(id, title, note);
    performance.clearResourceTimings();
    performance.setResourceTimingBufferSize(2 * total);
    const before = part(await getJSON("stats.json"));
    const end = new AbortController();
    const start = performance.now();
    const late = setTimeout(() => end.abort(), timeLimit);
    let next = 0, answered = 0, refused = 0;
    const counts = new Map();
    await Promise.all(Array.from({ length: connections }, async () => {
      while (next < total && !end.signal.aborted) {
        // Request the same picture many times in a row, like many users of one page. Most requests then join one that is running.
        const i = next++;
        const target = targets[Math.floor(i * targets.length / total)];
        const to = new URL(`${url(target.path)}&n=${i}`, location.href).href;
        const began = performance.now();
        const status = await fetch(to, { cache: "no-store", signal: end.signal })
          .then((r) => r.arrayBuffer().then(() => r.status))
          .catch(() => end.signal.aborted ? "stopped" : "no response");
        if (status === "stopped") break;
        // Use the browser's own timing: this script may be delayed while the page is painted.
        const timing = performance.getEntriesByName(to)[0];
        const ms = timing?.requestStart ? timing.responseEnd - timing.requestStart : performance.now() - began;
        const time = status === 200 ? times.find(([, , most]) => ms <= most)[0] : "refused";
        if (status === 200) answered++;
        else refused++;
        counts.set(time, (counts.get(time) ?? 0) + 1);
        r.dot(i, time, `${target.name}: ${status}, ${formatRough(ms)} ms`);
        r.progress(answered + refused, performance.now() - start);
      }
    }));
    clearTimeout(late);
    const seconds = (performance.now() - start) / 1000;
    const after = part(await refresh());
    speed[id] = answered / seconds;
    r.stop();
    r.done({ answered, refused, open: total - answered - refused, seconds, counts, pictureCount: targets.length, d: (name) => after[name] - before[name] });
    compareSpeeds();
  } catch (err) {
    r?.stop();
    $("versus").textContent = err.message;
  } finally {
    setRefreshInterval(1000);
    for (const b of buttons) b.disabled = false;
  }
}

// createResult adds the element that displays a storm, and removes that of the previous storm with the same id.
function createResult(id, title, note) {
  const clock = createElement("span", { className: "clock" }, "…");
  const dots = Array.from({ length: total }, (_, i) => createSVG("circle", { cx: i % 50 + 0.5, cy: Math.floor(i / 50) + 0.5, r: 0.4 }));
  const field = createSVG("svg", { viewBox: "0 0 50 10", class: "dots", role: "img", "aria-label": "One dot for each request" }, ...dots);
  const legend = createElement("p", { className: "legend" });
  const bar = createElement("div", { className: "bar" });
  const text = createElement("output");
  const article = createElement("article", { id }, createElement("h3", {}, title, clock), createElement("p", { className: "note" }, note), field, legend, bar, text);
  const old = $(id);
  if (old) old.replaceWith(article);
  else if (id === "cached") $("results").prepend(article);
  else $("results").append(article);
  article.scrollIntoView({ block: "nearest" });

  // Paint at most ten times a second, so that painting does not slow down the requests.
  let waiting = [], status = "";
  function paint() {
    for (const [i, time, what] of waiting) {
      dots[i].setAttribute("class", time);
      dots[i].append(createSVG("title", {}, `Request ${i + 1}: ${what}`));
    }
    waiting = [];
    clock.textContent = status;
  }
  const paintTimer = setInterval(paint, 100);
  return {
    dot(i, time, what) {
      waiting.push([i, time, what]);
    },
    progress(n, ms) {
      status = `${n} of ${total} · ${(ms / 1000).toFixed(1)} s`;
    },
    stop() {
      clearInterval(paintTimer);
      paint();
    },
    done({ answered, refused, open, seconds, counts, pictureCount, d }) {
      clock.textContent = `${seconds < 10 ? seconds.toFixed(2) : seconds.toFixed(1)} s`;
      const key = (c, name, n) => createElement("span", { className: c }, `${formatCount(n)} `, createElement("small", {}, name));
      legend.replaceChildren(...times.filter(([c]) => counts.get(c)).map(([c, name]) => key(c, name, counts.get(c))));
      if (refused) legend.append(key("refused", "failed", refused));
      if (open) legend.append(key("open", "unanswered", open));
      const cost = `${pluralize(d("extractions"), "extraction")} and ${pluralize(d("processes"), "process", "processes")}`;
      if (id === "cached") {
        const parts = tiers.map(([c, name, field]) => [c, name, d(field)]).filter(([, , n]) => n > 0);
        bar.replaceChildren(...parts.map(([c, name, n]) => {
          const part = createElement("span", { className: c, title: `${formatCount(n)} ${name}` });
          part.style.flexGrow = n;
          return part;
        }));
        text.textContent = `${formatCount(answered)} answers for ${pluralize(pictureCount, "picture")}: ${parts.map(([, name, n]) => `${formatCount(n)} ${name}`).join(", ")}. It took ${cost}.`;
      } else {
        text.textContent = (open ? `Stopped after ${Math.round(seconds)} s with ${formatCount(answered)} of ${total} answered. ` : `${formatCount(answered)} answers. `) + `It took ${cost}.`;
      }
      article.scrollIntoView({ block: "nearest" }); // the result has made it taller
      Object.assign(article.dataset, { answered, refused, open, extractions: d("extractions"), processes: d("processes") });
    },
  };
}

const pluralize = (n, one, many = one + "s") => `${formatCount(n)} ${n === 1 ? one : many}`;

function compareSpeeds() {
  if (speed.cached && speed.uncached) {
    $("versus").replaceChildren(createElement("strong", {}, `${formatRough(speed.cached / speed.uncached)} times`), ` as many answers per second with the cache: ${formatRough(speed.cached)} instead of ${formatRough(speed.uncached)}. ${uncached.why}`);
  }
}

let storms = 0;
$("fire").addEventListener("click", () => {
  // A unique version, so that nothing is cached at the start.
  const version = `storm-${Date.now()}-${++storms}`;
  runStorm({ id: "cached", title: "With the cache", note: "", url: (path) => `thumb/library/${path}?size=${size}&v=${version}`, part: (s) => s });
});
$("fire-uncached").addEventListener("click", () => {
  runStorm({ id: "uncached", title: "Without the cache", note: uncached.note, url: (path) => `uncached/${path}?size=${size}`, part: (s) => s.uncached });
});

// The ways of working without the cache, and why the difference is not what the user may expect.
const uncachedMethods = {
  ffmpeg: { note: "The usual way: one ffmpeg process per request, four at a time, with no caching. Stops after 15 seconds.", why: "" },
  library: {
    note: "Each request extracts and scales its picture again, in Go, four at a time, with no caching. Stops after 15 seconds.",
    why: "It is not more because this server has no ffmpeg: both ways read the pictures in Go. The usual way, a process for each request, takes far longer.",
  },
};
let uncached = { note: "", why: "" };
getJSON("about.json").then((about) => {
  if (!about.uncached) return;
  $("fire-uncached").hidden = false;
  uncached = uncachedMethods[about.uncached];
  $("fire-uncached").title = uncached.note;
}, () => {});
