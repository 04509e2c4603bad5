// The way to the agent: JSON by path, the stream of ticks, and the token where one is asked for.

import { read, write } from './storage.js';
import { authorization, follow, followShared, pause } from './stream.js';

const TOKEN = 'system-monitor-token';
/** What a header can carry: another token cannot be sent, and is refused here. */
const SENDABLE = /^[\x21-\x7e]+$/;

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
    const response = await fetch(`/api/v1/${path}`, { ...options, headers: authorization(token) });
    if (response.ok) return response;
    if (response.status !== 401) throw new Refusal(response.status, await response.json().catch(() => ({})));
    await replaceToken(token);
  }
}

/** Asks for a token in place of one that is refused. All requests wait for one answer. */
async function replaceToken(refused) {
  if (read('sessionStorage', TOKEN) !== refused) return;
  asking ??= newToken(refused !== null).then((token) => write('sessionStorage', TOKEN, token)).finally(() => { asking = null; });
  await asking;
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
 * Listens to the stream for as long as the page lives. `onEvent(type, data)` gets each event, and `missed` where this tab read none
 * for a time, `onState(isConnected)` each change.
 */
export async function listen(onEvent, onState) {
  const hear = (type, data) => {
    onState(true);
    onEvent(type, JSON.parse(data));
  };
  const onAway = () => onState(false);
  for (;;) {
    const token = read('sessionStorage', TOKEN);
    const why = await followShared(token, hear, onAway);
    if (why === 'none') break;
    if (why === 'refused') await replaceToken(token);
    else {
      onAway();
      await pause(0);
    }
  }
  await followWhileShown(hear, onAway, () => onEvent('missed'));
}

/** Follows the stream in this tab alone. A hidden tab leaves its connection to the others: there are six. */
async function followWhileShown(onEvent, onAway, onReturn) {
  for (;;) {
    const turn = new AbortController();
    const change = new Promise((resolve) => document.addEventListener('visibilitychange', resolve, { once: true }));
    if (!document.hidden) follow((signal) => request('stream', { signal }), onEvent, onAway, turn.signal);
    await change;
    turn.abort();
    if (!document.hidden) onReturn();
  }
}
