// What every part of the page uses.

export const $ = (id) => document.getElementById(id);

// make builds an element. Text goes in as text, whatever a file is called.
export function make(tag, properties = {}, ...children) {
  const e = Object.assign(document.createElement(tag), properties);
  e.append(...children);
  return e;
}

// draw builds an element of a drawing.
export function draw(tag, attributes = {}, ...children) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  e.append(...children);
  return e;
}

export async function getJSON(url, options) {
  const r = await fetch(url, options);
  if (!r.ok) throw new Error((await r.text()).trim());
  return r.json();
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

export const count = (n) => whole.format(n);

// rough is for what nobody needs to the last digit.
export const rough = (n) => n < 1000 ? short.format(n) : whole.format(n);

export function bytes(n) {
  if (n < 1024) return `${n} B`;
  const units = ["KiB", "MiB", "GiB", "TiB"];
  let unit = -1;
  do {
    n /= 1024;
    unit++;
  } while (n >= 1000 && unit < units.length - 1);
  return `${short.format(n)} ${units[unit]}`;
}
