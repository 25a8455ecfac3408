// What this device remembers: the key and the settings until they are forgotten, the history until the page is closed.
// A browser may refuse to keep anything (private windows); then the page forgets when it is closed, and works.

const KEY = "resonance.key";
const SETTINGS = "resonance.settings";
const HISTORY = "resonance.history";
const LONGEST_HISTORY = 50;
const DEFAULTS = { language: "", silence: false, pause: 2, speak: false, history: true };
const here = new Map(); // where the browser keeps nothing

function read(area, name) {
  try {
    return window[area].getItem(name) ?? here.get(name) ?? null;
  } catch {
    return here.get(name) ?? null;
  }
}

function write(area, name, value) {
  here.set(name, value);
  try {
    window[area].setItem(name, value);
  } catch {
    // remembered in `here`
  }
}

function remove(area, name) {
  here.delete(name);
  try {
    window[area].removeItem(name);
  } catch {
    // nothing was kept
  }
}

function parsed(text, otherwise) {
  try {
    return JSON.parse(text) ?? otherwise;
  } catch {
    return otherwise;
  }
}

// ── The key ──────────────────────────────────────────────────────────────────
// It comes behind the # of the QR code's link, which browsers send to nobody, and leaves the address bar at once: an
// address is seen by others, lands in the list of visited pages and is shared.
export function takeKeyFromAddress() {
  const found = new URLSearchParams(location.hash.slice(1).replaceAll("+", "%2B")).get("key");
  if (!found) return;
  write("localStorage", KEY, found.trim());
  history.replaceState(null, "", location.pathname);
}

export const key = () => read("localStorage", KEY) ?? "";

// ── Settings ─────────────────────────────────────────────────────────────────
export const settings = () => ({ ...DEFAULTS, ...parsed(read("localStorage", SETTINGS), {}) });

export function change(name, value) {
  write("localStorage", SETTINGS, JSON.stringify({ ...settings(), [name]: value }));
}

// ── History: words only, never sound ─────────────────────────────────────────
export const past = () => parsed(read("sessionStorage", HISTORY), []);

export function remember(text) {
  if (!settings().history) return;
  write("sessionStorage", HISTORY, JSON.stringify([text, ...past()].slice(0, LONGEST_HISTORY)));
}

// What was put right takes the place of what was heard.
export function rewrite(heard, meant) {
  const entries = past();
  const at = entries.indexOf(heard);
  if (at < 0) return;
  entries[at] = meant;
  write("sessionStorage", HISTORY, JSON.stringify(entries));
}

export const clearHistory = () => remove("sessionStorage", HISTORY);

export function forgetAll() {
  remove("localStorage", KEY);
  remove("localStorage", SETTINGS);
  clearHistory();
}
