// The live panel: the statistics of the cache, updated every second.
import { $, createElement, createSVG, formatBytes, formatCount, formatRough, getJSON } from "./dom.js";

const span = 60_000; // time range of a chart, in ms
const width = 240, height = 48; // of a chart, in its own units; CSS stretches it

// The ways in which a request is answered: CSS class, label and field of the statistics. Only "made" costs an extraction.
export const tiers = [
  ["memory", "from memory", "memory_hits"],
  ["disk", "from disk", "disk_hits"],
  ["fleet", "from the shared tier", "shared_hits"],
  ["shared", "joined a running request", "coalesced"],
  ["made", "made", "misses"],
  ["known", "remembered failure", "negative_hits"],
];

// createChart returns a chart of the last minute, of one value or of several stacked ones. If isRate is true, addPoint takes
// running totals and the chart shows their change per second.
function createChart(label, classes, isRate) {
  const areas = classes.map((c) => createSVG("path", { class: `area ${c}` }));
  const lines = classes.map((c) => createSVG("path", { class: `line ${c}` }));
  const moving = createSVG("g", {}, ...areas.toReversed(), ...lines.toReversed());
  const svg = createSVG("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": label }, moving);
  const points = []; // [time, values], for slightly more than the time range
  let last = null; // previous totals, if isRate
  let top = 0;

  function addPoint(time, values) {
    if (isRate) {
      const before = last;
      last = { time, values };
      if (!before || time - before.time > 5000) return; // the tab was hidden; an average over that time would look like a peak
      values = values.map((v, i) => Math.max(0, v - before.values[i]) * 1000 / (time - before.time));
    }
    points.push([time, values]);
    while (points[0][0] < time - span - 5000) points.shift();
    const sums = points.map(([, values]) => values.reduce((a, b) => a + b, 0));
    top = Math.max(...sums);
    // A new chart begins with a shorter time range, so that it is not almost empty for a minute.
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
    // Scroll smoothly between two updates. During a storm, updates are frequent and the CPU is busy, so do not animate.
    const gap = points.length > 1 ? time - points.at(-2)[0] : 0;
    if (gap > 500 && shown === span && !reducedMotion.matches) {
      moving.animate([{ transform: `translateX(${gap / span * width}px)` }, { transform: "none" }], { duration: gap });
    }
  }
  return { svg, add: addPoint, top: () => top };
}

const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

// ---- The panel

const flow = createChart("Thumbnails per second in the last minute, by origin", tiers.map(([c]) => c), true);
const peak = createElement("span", { className: "peak" });
$("flow").append(flow.svg, peak);

const totals = tiers.map(([c, name]) => {
  const value = createElement("dd", {}, "–");
  $("tiers").append(createElement("div", { className: c, hidden: c === "fleet" }, createElement("dt", {}, name), value));
  return value;
});

const meters = [
  { name: "Extractions", of: (s) => [s.extractions], isRate: true, big: (s) => formatCount(s.extractions), small: (s) => `${formatCount(s.failures)} failed`, color: "made" },
  { name: "Processes running", of: (s) => [s.processes_running, s.uncached.processes_running], big: (s) => formatCount(s.processes_running + s.uncached.processes_running), small: (s) => `${formatCount(s.processes + s.uncached.processes)} started`, color: "shared", more: "known" },
  { name: "Memory", of: (s) => [s.memory_bytes], big: (s) => formatBytes(s.memory_bytes), small: (s) => `${formatCount(s.memory_entries)} thumbnails`, color: "memory" },
  { name: "Disk", of: (s) => [s.disk_bytes], big: (s) => formatBytes(s.disk_bytes), small: (s) => `${formatCount(s.disk_entries)} files`, color: "disk" },
].map((m) => {
  const c = createChart(`${m.name} in the last minute`, m.more ? [m.color, m.more] : [m.color], m.isRate);
  const big = createElement("strong", {}, "–"), small = createElement("small", {}, "");
  $("meters").append(createElement("section", {}, createElement("h3", {}, m.name), big, small, c.svg));
  return { ...m, ...c, bigText: big, smallText: small };
});

let latest = 0; // time of the latest statistics; responses may arrive out of order

// updatePanel displays statistics that were requested at the given time.
export function updatePanel(stats, time = performance.now()) {
  if (time <= latest) return;
  latest = time;
  const numbers = tiers.map(([, , field]) => stats[field]);
  flow.add(time, numbers);
  peak.textContent = flow.top() > 0 ? `peak ${formatRough(flow.top())}/s` : "";
  numbers.forEach((n, i) => { totals[i].textContent = formatCount(n); });
  updateShared(stats);
  const served = stats.memory_hits + stats.disk_hits + stats.shared_hits + stats.coalesced + stats.misses;
  const { big, small, brief } = formatHeadline(stats, served);
  $("headline").textContent = big;
  $("subline").textContent = small;
  $("panel").dataset.served = served;
  $("digest").textContent = brief;
  for (const m of meters) {
    m.add(time, m.of(stats));
    m.bigText.textContent = m.big(stats);
    m.smallText.textContent = m.small(stats);
  }
  const running = stats.in_flight + stats.uncached.in_flight;
  $("pulse").className = running ? "busy" : "";
}

// updateShared shows the line of the tier that several machines share, if there is one.
function updateShared(stats) {
  const line = $("tiers").querySelector(".fleet");
  line.hidden = !stats.shared;
  line.title = `${formatCount(stats.shared_errors)} calls failed, ${formatCount(stats.shared_dropped)} thumbnails not stored there, ${formatCount(stats.leases_waited)} times waited for another machine`;
}

// formatHeadline returns the most telling fact: at first how little work it took, later how much of it was saved. brief fits a phone.
function formatHeadline(stats, served) {
  const made = stats.misses - stats.failures, fromCache = served - stats.misses;
  if (made <= 0 && fromCache === 0) return { big: "–", small: "no thumbnails served yet", brief: "" };
  if (fromCache < made) {
    const big = `${formatCount(made)} ${made === 1 ? "thumbnail" : "thumbnails"}`;
    return { big, small: `made in ${formatRough(stats.work_seconds)} s of work; from now on they come from the cache`, brief: `${big} made` };
  }
  const big = `${formatRough(Math.floor(fromCache / served * 1000) / 10)}%`;
  return { big, small: `of ${formatCount(served)} thumbnails served from cache`, brief: `${big} served from cache` };
}

// showLost tells the user whether the server responds.
function showLost(isLost) {
  if (isLost === ($("lost").textContent !== "")) return;
  $("lost").textContent = isLost ? "Connection lost. Trying again…" : "";
  if (!isLost) dispatchEvent(new Event("reconnected"));
}

// refresh fetches the statistics, displays them and returns them.
export async function refresh() {
  const time = performance.now();
  const stats = await getJSON("stats.json", { priority: "high" });
  updatePanel(stats, time);
  return stats;
}

let timer = 0;

// setRefreshInterval sets the time between two refreshes, in ms.
export function setRefreshInterval(ms) {
  clearInterval(timer);
  timer = setInterval(() => {
    if (document.visibilityState === "visible") refresh().then(() => showLost(false), () => {
      $("pulse").className = "lost";
      showLost(true);
    });
  }, ms);
}

// On wide screens the panel is open from the start.
$("panel").open = matchMedia("(min-width: 1000px)").matches;
refresh().catch(() => {});
setRefreshInterval(1000);
