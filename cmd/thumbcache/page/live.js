// The live panel: what the cache does, every second.
import { $, bytes, count, draw, getJSON, make, rough } from "./dom.js";

const span = 60_000; // ms that a chart shows
const width = 240, height = 48; // of a drawing, which is stretched to its place

// How a thumbnail came about. Only one of these costs an extraction.
export const tiers = [
  ["memory", "from memory", "memory_hits"],
  ["disk", "from disk", "disk_hits"],
  ["shared", "shared a flight", "coalesced"],
  ["made", "made", "misses"],
  ["known", "without a picture", "negative_hits"],
];

// chart draws the last minute of one value, or of several on top of each other. Of a rate, what is given is a running total.
function chart(label, classes, isRate) {
  const areas = classes.map((c) => draw("path", { class: `area ${c}` }));
  const lines = classes.map((c) => draw("path", { class: `line ${c}` }));
  const moving = draw("g", {}, ...areas.toReversed(), ...lines.toReversed());
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": label }, moving);
  const points = []; // [time, values], for a minute and a little
  let last = null; // totals, of a rate
  let top = 0;

  function add(time, values) {
    if (isRate) {
      const before = last;
      last = { time, values };
      if (!before || time - before.time > 5000) return; // nobody looked: what happened since is no peak of now
      values = values.map((v, i) => Math.max(0, v - before.values[i]) * 1000 / (time - before.time));
    }
    points.push([time, values]);
    while (points[0][0] < time - span - 5000) points.shift();
    const sums = points.map(([, values]) => values.reduce((a, b) => a + b, 0));
    top = Math.max(...sums);
    // A chart that has just begun is not left empty for a minute.
    const shown = Math.min(span, Math.max(time - points[0][0], span / 6));
    const x = (t) => (width - (time - t) / shown * width).toFixed(1);
    const y = (v) => (height - 1 - v / (top || 1) * (height - 4)).toFixed(1);
    const base = points.map(() => 0);
    classes.forEach((_, i) => {
      const lower = points.map(([t], n) => `${x(t)} ${y(base[n])}`);
      points.forEach(([, values], n) => { base[n] += values[i]; });
      const upper = points.map(([t], n) => `${x(t)} ${y(base[n])}`);
      areas[i].setAttribute("d", `M${upper.join("L")}L${lower.reverse().join("L")}Z`);
      lines[i].setAttribute("d", base.some((v) => v > 0) || classes.length === 1 ? `M${upper.join("L")}` : "");
    });
    // Between two looks it goes on moving, unless they are close together: then something else needs the processor.
    const gap = points.length > 1 ? time - points.at(-2)[0] : 0;
    if (gap > 500 && shown === span && !still.matches) {
      moving.animate([{ transform: `translateX(${gap / span * width}px)` }, { transform: "none" }], { duration: gap });
    }
  }
  return { svg, add, top: () => top };
}

const still = matchMedia("(prefers-reduced-motion: reduce)");

// ---- What is shown

const flow = chart("Thumbnails a second in the last minute, by how they came about", tiers.map(([c]) => c), true);
const peak = make("span", { className: "peak" });
$("flow").append(flow.svg, peak);

const totals = tiers.map(([c, name]) => {
  const value = make("dd", {}, "–");
  $("tiers").append(make("div", { className: c }, make("dt", {}, name), value));
  return value;
});

const meters = [
  { name: "Extractions", of: (s) => [s.extractions], isRate: true, big: (s) => count(s.extractions), small: (s) => `${count(s.failures)} failed`, colour: "made" },
  { name: "Processes", of: (s) => [s.processes_running, s.uncached.processes_running], big: (s) => count(s.processes_running + s.uncached.processes_running), small: (s) => `now · ${count(s.processes)} in all`, colour: "shared", more: "known" },
  { name: "Memory", of: (s) => [s.memory_bytes], big: (s) => bytes(s.memory_bytes), small: (s) => `${count(s.memory_entries)} thumbnails`, colour: "memory" },
  { name: "Disk", of: (s) => [s.disk_bytes], big: (s) => bytes(s.disk_bytes), small: (s) => `${count(s.disk_entries)} files`, colour: "disk" },
].map((m) => {
  const c = chart(`${m.name} in the last minute`, m.more ? [m.colour, m.more] : [m.colour], m.isRate);
  const big = make("strong", {}, "–"), small = make("small", {}, "");
  $("meters").append(make("section", {}, make("h3", {}, m.name), big, small, c.svg));
  return { ...m, ...c, bigText: big, smallText: small };
});

let latest = 0; // answers may overtake each other

// show brings the panel up to date.
export function show(stats, time = performance.now()) {
  if (time <= latest) return;
  latest = time;
  const numbers = tiers.map(([, , field]) => stats[field]);
  flow.add(time, numbers);
  peak.textContent = flow.top() > 0 ? `peak ${rough(flow.top())}/s` : "";
  numbers.forEach((n, i) => { totals[i].textContent = count(n); });
  const served = stats.memory_hits + stats.disk_hits + stats.coalesced + stats.misses;
  const share = served ? `${rough(Math.floor((served - stats.misses) / served * 1000) / 10)}%` : "–";
  $("share").textContent = share;
  $("served").textContent = count(served);
  $("digest").textContent = served ? `${share} of ${count(served)} without any work` : "";
  for (const m of meters) {
    m.add(time, m.of(stats));
    m.bigText.textContent = m.big(stats);
    m.smallText.textContent = m.small(stats);
  }
  const running = stats.in_flight + stats.uncached.in_flight;
  $("pulse").className = running ? "busy" : "";
}

export async function look() {
  const time = performance.now();
  const stats = await getJSON("stats.json", { priority: "high" });
  show(stats, time);
  return stats;
}

// pace sets how often the panel looks, in ms.
let clock = 0;
export function pace(ms) {
  clearInterval(clock);
  clock = setInterval(() => {
    if (document.visibilityState === "visible") look().catch(() => { $("pulse").className = "lost"; });
  }, ms);
}

// Where there is room, it is open from the start.
$("panel").open = matchMedia("(min-width: 1000px)").matches;
look().catch(() => {});
pace(1000);
