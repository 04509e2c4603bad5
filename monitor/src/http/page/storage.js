// What the browser keeps for the page. One that blocks cookies refuses both stores; then it is kept as long as the page lives.

const memory = new Map();

/** The text under a key of `localStorage` or `sessionStorage`; `null` where there is none. */
export function read(store, key) {
  try {
    return globalThis[store].getItem(key);
  } catch {
    return memory.get(key) ?? null;
  }
}

/** Keeps a text under a key. */
export function write(store, key, text) {
  memory.set(key, text);
  try {
    globalThis[store].setItem(key, text);
  } catch {
    // A store that is refused, or full.
  }
}
