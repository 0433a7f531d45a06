// The storm: many requests at once, and what became of each.
import { $, count, draw, getJSON, make, rough } from "./dom.js";
import { look, pace, tiers } from "./live.js";

const total = 500;
const pictures = 10; // that are asked for
const connections = 6; // as many as a browser has to one host: more would only measure the wait for one
const size = 1280; // that the grid does not ask for
const patience = 15_000; // ms; without the cache it may take minutes

// How long a request took.
const times = [
  ["t0", "≤ 5 ms", 5],
  ["t1", "≤ 25 ms", 25],
  ["t2", "≤ 100 ms", 100],
  ["t3", "≤ 500 ms", 500],
  ["t4", "longer", Infinity],
];

const speed = {}; // answers a second, by id

// targets are the pictures of the grid that can be seen to work. Where there are only folders, they are files in the first.
async function targets() {
  const path = (url) => new URL(url, location.href).pathname.replace(/^.*?\/thumb\/[^/]*\//, "");
  const seen = [...document.querySelectorAll("#grid li:not(.folder) a:first-child")].filter((a) => a.querySelector("img")?.naturalWidth);
  if (seen.length > 0) return seen.slice(0, pictures).map((a) => ({ path: path(a.href), name: a.querySelector(".name").textContent }));
  let folder = location.hash.slice(1);
  for (let depth = 0; depth < 5; depth++) {
    const { entries } = await getJSON(`list.json?folder=${folder}`);
    const media = entries.filter((e) => !e.folder && isMedia(e.name));
    if (media.length > 0) return media.slice(0, pictures).map((e) => ({ path: path(e.thumb), name: e.name }));
    folder = entries.find((e) => e.folder)?.folder;
    if (!folder) break;
  }
  return [];
}

const isMedia = (name) => /\.(mp3|flac|m4a|m4b|ogg|opus|wav|aiff?|wv|jpe?g|png|gif|webp|mp4|mkv|webm)$/i.test(name);

// fire sends the requests. It is told where to, by url, and of which part of the statistics the cost is.
async function fire({ id, title, note, url, part }) {
  $("versus").textContent = "";
  const buttons = document.querySelectorAll("#storm button");
  for (const b of buttons) b.disabled = true;
  pace(250);
  let r;
  try {
    const wanted = await targets();
    if (wanted.length === 0) throw new Error("There is no picture here to ask for.");
    r = result(id, title, note);
    performance.clearResourceTimings();
    performance.setResourceTimingBufferSize(2 * total);
    const before = part(await getJSON("stats.json"));
    const end = new AbortController();
    const start = performance.now();
    const late = setTimeout(() => end.abort(), patience);
    let next = 0, answered = 0, refused = 0;
    const counts = new Map();
    await Promise.all(Array.from({ length: connections }, async () => {
      while (next < total && !end.signal.aborted) {
        // The same picture is asked for many times in a row, as by all who see the same page: most find it being made.
        const i = next++;
        const target = wanted[Math.floor(i * wanted.length / total)];
        const to = new URL(`${url(target.path)}&n=${i}`, location.href).href;
        const began = performance.now();
        const status = await fetch(to, { cache: "no-store", signal: end.signal })
          .then((r) => r.arrayBuffer().then(() => r.status))
          .catch(() => end.signal.aborted ? "stopped" : "no answer");
        if (status === "stopped") break;
        // From when it was sent, by the browser's own clock: this page may be busy with painting.
        const timing = performance.getEntriesByName(to)[0];
        const ms = timing?.requestStart ? timing.responseEnd - timing.requestStart : performance.now() - began;
        const time = status === 200 ? times.find(([, , most]) => ms <= most)[0] : "refused";
        if (status === 200) answered++;
        else refused++;
        counts.set(time, (counts.get(time) ?? 0) + 1);
        r.dot(i, time, `${target.name}: ${status} after ${rough(ms)} ms`);
        r.progress(answered + refused, performance.now() - start);
      }
    }));
    clearTimeout(late);
    const seconds = (performance.now() - start) / 1000;
    const after = part(await look());
    speed[id] = answered / seconds;
    r.stop();
    r.done({ answered, refused, open: total - answered - refused, seconds, counts, wanted: wanted.length, d: (name) => after[name] - before[name] });
    compare();
  } catch (err) {
    r?.stop();
    $("versus").textContent = err.message;
  } finally {
    pace(1000);
    for (const b of buttons) b.disabled = false;
  }
}

// result makes the place where a storm is shown, in place of the one of the last storm of its kind.
function result(id, title, note) {
  const clock = make("span", { className: "clock" }, "…");
  const dots = Array.from({ length: total }, (_, i) => draw("circle", { cx: i % 50 + 0.5, cy: Math.floor(i / 50) + 0.5, r: 0.4 }));
  const field = draw("svg", { viewBox: "0 0 50 10", class: "dots", role: "img", "aria-label": "One dot for each request" }, ...dots);
  const legend = make("p", { className: "legend" });
  const bar = make("div", { className: "bar" });
  const text = make("output");
  const article = make("article", { id }, make("h3", {}, title, clock), make("p", { className: "note" }, note), field, legend, bar, text);
  const old = $(id);
  if (old) old.replaceWith(article);
  else if (id === "cached") $("results").prepend(article);
  else $("results").append(article);
  article.scrollIntoView({ block: "nearest" });

  // Painting is put together, so that it does not slow down what is measured.
  let waiting = [], news = "";
  function paint() {
    for (const [i, time, what] of waiting) {
      dots[i].setAttribute("class", time);
      dots[i].append(draw("title", {}, `${i + 1}. ${what}`));
    }
    waiting = [];
    clock.textContent = news;
  }
  const brush = setInterval(paint, 100);
  return {
    dot(i, time, what) {
      waiting.push([i, time, what]);
    },
    progress(n, ms) {
      news = `${n} of ${total} · ${(ms / 1000).toFixed(1)} s`;
    },
    stop() {
      clearInterval(brush);
      paint();
    },
    done({ answered, refused, open, seconds, counts, wanted, d }) {
      clock.textContent = `${seconds < 10 ? seconds.toFixed(2) : seconds.toFixed(1)} s`;
      const key = (c, name, n) => make("span", { className: c }, `${count(n)} `, make("small", {}, name));
      legend.replaceChildren(...times.filter(([c]) => counts.get(c)).map(([c, name]) => key(c, name, counts.get(c))));
      if (refused) legend.append(key("refused", "refused", refused));
      if (open) legend.append(key("open", "never answered", open));
      const cost = `${plural(d("extractions"), "extraction")} and ${plural(d("processes"), "process", "processes")}`;
      if (id === "cached") {
        const parts = tiers.map(([c, name, field]) => [c, name, d(field)]).filter(([, , n]) => n > 0);
        bar.replaceChildren(...parts.map(([c, name, n]) => {
          const part = make("span", { className: c, title: `${count(n)} ${name}` });
          part.style.flexGrow = n;
          return part;
        }));
        text.textContent = `${count(answered)} answers for ${plural(wanted, "picture")}: ${parts.map(([, name, n]) => `${count(n)} ${name}`).join(", ")}. That took ${cost}.`;
      } else {
        text.textContent = (open ? `Stopped after ${Math.round(seconds)} s with ${count(answered)} of ${total} answered. ` : `${count(answered)} answers. `) + `That took ${cost}.`;
      }
      article.scrollIntoView({ block: "nearest" }); // it has grown
      Object.assign(article.dataset, { answered, refused, open, extractions: d("extractions"), processes: d("processes") });
    },
  };
}

const plural = (n, one, many = one + "s") => `${count(n)} ${n === 1 ? one : many}`;

function compare() {
  if (speed.cached && speed.uncached) {
    $("versus").replaceChildren(make("strong", {}, `${rough(speed.cached / speed.uncached)} times`), ` as many answers a second with the cache: ${rough(speed.cached)} against ${rough(speed.uncached)}.`);
  }
}

let storms = 0;
$("fire").addEventListener("click", () => {
  // A version of its own, so that each storm begins with nothing.
  const version = `storm-${Date.now()}-${++storms}`;
  fire({ id: "cached", title: "With the cache", note: "", url: (path) => `thumb/library/${path}?size=${size}&v=${version}`, part: (s) => s });
});
$("fire-uncached").addEventListener("click", () => {
  fire({ id: "uncached", title: "Without the cache", note: way, url: (path) => `uncached/${path}?size=${size}`, part: (s) => s.uncached });
});

const ways = {
  ffmpeg: "The usual way: ffmpeg for each request, four at a time, and nothing kept. It is stopped after 15 seconds.",
  library: "Each request reads and scales its picture anew, four at a time, and nothing is kept. It is stopped after 15 seconds.",
};
let way = "";
getJSON("about.json").then((about) => {
  if (!about.uncached) return;
  $("fire-uncached").hidden = false;
  $("fire-uncached").title = way = ways[about.uncached];
}, () => {});
