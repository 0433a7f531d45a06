// The state of the page is in its URL, so that Back and shared links work: #folder?filter=text&sort=date&open=path

const defaults = { filter: "", sort: "folder", open: "" };

// readState returns the state in the URL. Folder and open are escaped for a query, as in listings.
export function readState() {
  const [folder, query = ""] = location.hash.slice(1).split("?", 2);
  const state = { ...defaults, folder };
  for (const part of query.split("&")) {
    const [name, value = ""] = part.split("=", 2);
    if (Object.hasOwn(defaults, name)) state[name] = name === "open" ? value : decodeValue(value);
  }
  return state;
}

// decodeValue returns the text of a query value. Text that is not UTF-8 is returned as it is.
export function decodeValue(value) {
  const text = value.replaceAll("+", " ");
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

// formatState returns the URL of a state.
export function formatState({ folder, filter, sort, open }) {
  const query = [
    filter && `filter=${encodeURIComponent(filter)}`,
    sort !== defaults.sort && `sort=${encodeURIComponent(sort)}`,
    open && `open=${open}`,
  ].filter(Boolean).join("&");
  return `#${folder}${query && `?${query}`}`;
}

let apply = () => {};

// setState changes some values of the state. It adds an entry to the history, or replaces the present one.
export function setState(changes, { replace = false } = {}) {
  const url = formatState({ ...readState(), ...changes });
  if (url === formatState(readState())) return;
  if (replace) history.replaceState(history.state, "", url);
  else history.pushState({ added: Object.keys(changes).join() }, "", url);
  apply();
}

let isGoingBack = false; // history.back has been called, and the URL has not changed yet

// resetState sets one value back to its default. If setting it has added the present entry of the history, it goes back.
export function resetState(name) {
  if (isGoingBack) return;
  isGoingBack = history.state?.added === name;
  if (isGoingBack) history.back();
  else setState({ [name]: defaults[name] }, { replace: true });
}

// onState calls apply now and whenever the state has changed.
export function onState(f) {
  apply = f;
  addEventListener("hashchange", () => {
    isGoingBack = false;
    apply();
  });
  apply();
}
