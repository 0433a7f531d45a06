// Helpers shared by all parts of the page.

export const $ = (id) => document.getElementById(id);

// createElement returns a new HTML element. Strings among the children become text nodes, so file names are never parsed as HTML.
export function createElement(tag, properties = {}, ...children) {
  const e = Object.assign(document.createElement(tag), properties);
  e.append(...children);
  return e;
}

// createSVG returns a new SVG element.
export function createSVG(tag, attributes = {}, ...children) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  e.append(...children);
  return e;
}

// getJSON returns the decoded body of a response. It throws the text of the response as an error if the status is not 2xx.
export async function getJSON(url, options) {
  const r = await fetch(url, options);
  if (!r.ok) throw new Error((await r.text()).trim());
  return r.json();
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

// formatTags returns what a song is, such as "Title · Artist · Album".
export const formatTags = ({ title, artist, album }) => [title, artist, album].filter(Boolean).join("\u00a0· "); // no line begins with a dot

export const formatCount = (n) => whole.format(n);

// formatRough returns a number with three significant digits below 1000, and as an integer above.
export const formatRough = (n) => n < 1000 ? short.format(n) : whole.format(n);

// formatBytes returns a number of bytes with a binary unit, such as "1.5 MiB".
export function formatBytes(n) {
  if (n < 1024) return `${n} B`;
  const units = ["KiB", "MiB", "GiB", "TiB"];
  let unit = -1;
  do {
    n /= 1024;
    unit++;
  } while (n >= 1000 && unit < units.length - 1);
  return `${short.format(n)} ${units[unit]}`;
}
