// The way to the agent: JSON by path, the stream of ticks, and the token where one is asked for.

import { read, write } from './storage.js';

const TOKEN = 'system-monitor-token';
/** What a header can carry: another token cannot be sent, and is refused here. */
const SENDABLE = /^[\x21-\x7e]+$/;
/** The server says something every 15 s; after a longer silence the connection is dead, whatever it seems. */
const SILENCE_MS = 35_000;
const RETRY_MS = [500, 1000, 2000, 3000];

/** An answer other than success. */
export class Refusal extends Error {
  constructor(status, problem) {
    super(problem.detail ?? problem.title ?? `the server answers ${status}`);
    this.status = status;
  }
}

let askForToken = () => Promise.reject(new Error('the server asks for a token'));
let asking = null;

/** Sets what is done when the server wants a token; its promise gives the token. */
export function onTokenWanted(ask) {
  askForToken = ask;
}

async function request(path, options = {}) {
  for (;;) {
    const token = read('sessionStorage', TOKEN);
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const response = await fetch(`/api/v1/${path}`, { ...options, headers });
    if (response.ok) return response;
    if (response.status !== 401) throw new Refusal(response.status, await response.json().catch(() => ({})));
    // All requests wait for one answer.
    asking ??= newToken(token !== null).finally(() => { asking = null; });
    write('sessionStorage', TOKEN, await asking);
  }
}

async function newToken(wasRefused) {
  const token = await askForToken(wasRefused);
  return SENDABLE.test(token) ? token : newToken(true);
}

/** What the server says at a path below `/api/v1/`. */
export async function get(path, signal) {
  return (await request(path, { signal })).json();
}

/**
 * The path of a container's part of the API. Browsers take `.` and `..` out of a path, and some proxies decode a slash: such a
 * name is encoded twice.
 */
export function of(kind, name) {
  const encoded = encodeURIComponent(name);
  const isPath = name === '.' || name === '..' || name.includes('/');
  return `${kind}/${isPath ? encodeURIComponent(encoded.replaceAll('.', '%2E')) : encoded}`;
}

/**
 * Listens to the stream for as long as the page lives. `onEvent(type, data)` gets each event, `onState(isConnected)` each
 * change. EventSource cannot send a token, so the body is read here.
 */
export async function listen(onEvent, onState) {
  let failures = 0;
  for (;;) {
    const abort = new AbortController();
    let watchdog = setTimeout(() => abort.abort(), SILENCE_MS);
    try {
      const response = await request('stream', { signal: abort.signal });
      for await (const event of events(response.body, () => {
        clearTimeout(watchdog);
        watchdog = setTimeout(() => abort.abort(), SILENCE_MS);
      })) {
        failures = 0;
        onState(true);
        onEvent(event.type, JSON.parse(event.data));
      }
    } catch (error) {
      if (error instanceof SyntaxError) console.error('the stream holds no JSON', error);
    } finally {
      clearTimeout(watchdog);
      abort.abort();
    }
    onState(false);
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS[Math.min(failures, RETRY_MS.length - 1)]));
    failures += 1;
  }
}

/** The events of a body, as the HTML standard reads them ("Server-sent events"). */
async function* events(body, onBytes) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  let type = 'message';
  let data = [];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    onBytes();
    const lines = (rest + value).split(/\r?\n/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === '') {
        if (data.length > 0) yield { type, data: data.join('\n') };
        type = 'message';
        data = [];
      } else if (line.startsWith('event:')) type = line.slice(6).trim();
      else if (line.startsWith('data:')) data.push(line.slice(line[5] === ' ' ? 6 : 5));
    }
  }
}
