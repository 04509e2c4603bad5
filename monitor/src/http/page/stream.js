// The stream of ticks and log entries. A browser gives a host six connections (HTTP/1.1), so its tabs share one stream: this file
// is also the script of the shared worker that reads it for all of them.

/** The server says something every 15 s, and so does the worker; after a longer silence the connection is dead, whatever it seems. */
const SILENCE_MS = 35_000;
const RETRY_MS = [500, 1000, 2000, 3000];
/** A worker that has not said a word by then does not run. */
const START_MS = 10_000;
const PING_MS = 15_000;
/** Nothing tells the worker that a tab has crashed; one that leaves so many pings unanswered gets no more events. */
const MOST_UNANSWERED = 4;

/** What a request carries for a token. */
export function authorization(token) {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/**
 * Follows the stream until the signal. `open(signal)` gives the response, `onEvent(type, data)` gets each event with its text,
 * `onAway()` each end of the connection. EventSource cannot send a token, so the body is read here.
 */
export async function follow(open, onEvent, onAway, signal) {
  let failures = 0;
  while (!signal.aborted) {
    const abort = new AbortController();
    const stop = () => abort.abort();
    signal.addEventListener('abort', stop);
    let watchdog = setTimeout(stop, SILENCE_MS);
    try {
      const response = await open(abort.signal);
      for await (const event of events(response.body, () => {
        clearTimeout(watchdog);
        watchdog = setTimeout(stop, SILENCE_MS);
      })) {
        failures = 0;
        onEvent(event.type, event.data);
      }
    } catch (error) {
      if (error instanceof SyntaxError) console.error('the stream holds no JSON', error);
    } finally {
      clearTimeout(watchdog);
      signal.removeEventListener('abort', stop);
      stop();
    }
    if (signal.aborted) return;
    onAway();
    await pause(failures);
    failures += 1;
  }
}

/** Waits before the next try. */
export function pause(failures) {
  return new Promise((resolve) => setTimeout(resolve, RETRY_MS[Math.min(failures, RETRY_MS.length - 1)]));
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

/* In a tab. */

let name = null;
let hasRun = false;

/** The worker's name holds the tag of this file: after an upgrade new tabs do not get the worker of older ones. */
async function workerName() {
  const head = await fetch(import.meta.url, { method: 'HEAD' });
  // An answer whose end is not read counts as broken off.
  await head.text();
  return `stream ${head.headers.get('ETag')}`;
}

/**
 * Follows the stream through the worker. Gives why that ended: `none` where no worker has ever run, `refused` for the token, or
 * `silent`.
 */
export async function followShared(token, onEvent, onAway) {
  const left = new AbortController();
  try {
    name ??= await workerName();
    const worker = new SharedWorker(import.meta.url, { type: 'module', name });
    const why = await new Promise((resolve) => hear(worker, token, onEvent, onAway, resolve, left.signal));
    worker.port.postMessage({ hasLeft: true });
    worker.port.close();
    return why;
  } catch {
    return hasRun ? 'silent' : 'none';
  } finally {
    left.abort();
  }
}

function hear(worker, token, onEvent, onAway, end, signal) {
  const { port } = worker;
  const join = () => port.postMessage({ token });
  const fail = () => end(hasRun ? 'silent' : 'none');
  let watchdog = setTimeout(fail, START_MS);
  signal.addEventListener('abort', () => clearTimeout(watchdog));
  worker.onerror = fail;
  port.onmessage = ({ data: { type, data } }) => {
    hasRun = true;
    clearTimeout(watchdog);
    watchdog = setTimeout(fail, SILENCE_MS);
    if (type === 'refused') end('refused');
    else if (type === 'ping') join();
    else if (type === 'away') onAway();
    else onEvent(type, data);
  };
  // A browser may keep a page that is left, and show it again.
  addEventListener('pagehide', () => port.postMessage({ hasLeft: true }), { signal });
  addEventListener('pageshow', join, { signal });
  join();
}

/* In the worker. */

/** The streams by token: a tab sees only what its own token opens. */
const streams = new Map();

class SharedStream {
  constructor(token) {
    this.token = token;
    /** The ports of the tabs, each with its unanswered pings. */
    this.tabs = new Map();
    /** What a tab that comes has to know. A tick holds all containers. */
    this.latest = { type: 'ping' };
    this.abort = new AbortController();
    follow((signal) => this.open(signal), (type, data) => this.tell({ type, data }), () => this.tell({ type: 'away' }), this.abort.signal);
  }

  async open(signal) {
    const response = await fetch('/api/v1/stream', { headers: authorization(this.token), signal });
    if (response.status === 401) {
      this.tell({ type: 'refused' });
      this.end();
    }
    if (!response.ok) throw new Error(`the server answers ${response.status}`);
    return response;
  }

  tell(message) {
    if (message.type !== 'log') this.latest = message;
    for (const port of this.tabs.keys()) port.postMessage(message);
  }

  ping() {
    for (const [port, unanswered] of this.tabs) {
      if (unanswered === MOST_UNANSWERED) {
        leave(port);
        continue;
      }
      this.tabs.set(port, unanswered + 1);
      port.postMessage({ type: 'ping' });
    }
  }

  end() {
    streams.delete(this.token);
    this.abort.abort();
  }
}

function join(port, token) {
  if (!streams.get(token)?.tabs.has(port)) {
    if (!streams.has(token)) streams.set(token, new SharedStream(token));
    port.postMessage(streams.get(token).latest);
  }
  streams.get(token).tabs.set(port, 0);
}

function leave(port) {
  for (const stream of streams.values()) {
    if (stream.tabs.delete(port) && stream.tabs.size === 0) stream.end();
  }
}

if ('onconnect' in globalThis) {
  globalThis.onconnect = ({ ports: [port] }) => {
    port.onmessage = ({ data: { token, hasLeft } }) => (hasLeft ? leave(port) : join(port, token));
  };
  setInterval(() => {
    for (const stream of streams.values()) stream.ping();
  }, PING_MS);
}
