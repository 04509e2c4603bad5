// What is known of all containers: the latest tick, a little of the past for sparklines, and what happened.

import { compare, judge } from './trouble.js';

/** Points of a sparkline. */
const POINTS = 60;
/** What ended is shown for so long, and what fell silent. */
const ENDED_MS = 60_000;
const SILENT_MS = 10 * 60_000;
/** The shortest expiry of a report in Valkey: before that nobody is silent there. */
const FLEET_PATIENCE_MS = 30_000;
const DEFAULT_INTERVAL_MS = 5000;

/* What the agent says, in its words. */
const isKill = (entry) => entry.level === 'ERROR' && entry.message.startsWith('out of memory');
const isEnd = (entry) => entry.message === 'the container has ended';

/** A container. */
class Row {
  constructor(name) {
    this.name = name;
    this.values = [];
    this.status = null;
    this.host = null;
    this.reported = 0;
    this.patience = 0;
    this.oomAt = null;
    this.isOomBound = false;
    this.restartedAt = null;
    this.trails = { cpu_percent: [], memory_percent: [] };
    this.reasons = [];
    this.hasPast = false;
  }
}

/** All containers of one agent, or of a fleet. */
export class Fleet {
  constructor() {
    this.rows = new Map();
    this.order = [];
    this.taken = null;
    /** Between two readings, in ms: what the agent says, else what is seen. */
    this.interval = DEFAULT_INTERVAL_MS;
    this.isIntervalKnown = false;
    this.index = new Map();
    this.received = 0;
  }

  /** The server's clock, as far as the last tick tells; browsers' clocks are wrong. */
  now() {
    return this.taken === null ? Date.now() : this.taken + performance.now() - this.received;
  }

  /** A container's number, or null. */
  number(row, field) {
    const value = row.values[this.index.get(field)];
    return typeof value === 'number' ? value : null;
  }

  /** A container's text, or null. */
  text(row, field) {
    const value = row.values[this.index.get(field)];
    return typeof value === 'string' ? value : null;
  }

  /** Takes the agent's word for its interval. */
  setInterval(seconds) {
    this.isIntervalKnown = typeof seconds === 'number';
    if (this.isIntervalKnown) this.interval = seconds * 1000;
  }

  /** Takes in a tick. */
  tick({ taken, fields, rows }) {
    if (!this.isIntervalKnown && this.taken !== null && taken > this.taken) this.interval = taken - this.taken;
    this.taken = taken;
    this.received = performance.now();
    this.index = new Map(fields.map((field, at) => [field, at]));
    for (const [name, values] of Object.entries(rows)) this.report(name, values);
    for (const row of this.rows.values()) this.settle(row);
  }

  report(name, values) {
    let row = this.rows.get(name);
    if (!row) this.rows.set(name, row = new Row(name));
    const before = { kills: this.number(row, 'memory.oom_kills'), uptime: this.number(row, 'uptime_seconds') };
    row.values = values;
    row.status = this.text(row, 'status');
    row.host = this.text(row, 'host');
    // In a fleet each container has a time and an interval of its own.
    const own = this.number(row, 'taken');
    row.patience = own === null ? 0 : FLEET_PATIENCE_MS;
    row.reported = own ?? this.taken;
    const [kills, uptime] = [this.number(row, 'memory.oom_kills'), this.number(row, 'uptime_seconds')];
    if (before.kills !== null && kills > before.kills) [row.oomAt, row.isOomBound] = [this.taken, false];
    // What was counted before anybody looked has happened in its life: no more is known.
    if (before.kills === null && kills > 0 && uptime !== null) [row.oomAt, row.isOomBound] = [this.taken - uptime * 1000, true];
    if (before.uptime !== null && uptime !== null && uptime < before.uptime - 2) row.restartedAt = this.taken - uptime * 1000;
    for (const [field, trail] of Object.entries(row.trails)) {
      trail.push(this.number(row, field));
      if (trail.length > POINTS) trail.shift();
    }
  }

  /** Judges a container anew, or forgets it. */
  settle(row) {
    const silence = this.taken - row.reported;
    if (silence > (row.status === 'exited' ? ENDED_MS : SILENT_MS)) {
      this.rows.delete(row.name);
      return;
    }
    const { status, reported, oomAt, isOomBound, restartedAt } = row;
    const seen = { status, reported, oomAt, isOomBound, restartedAt, now: this.taken, interval: this.interval, patience: row.patience };
    row.reasons = judge((field) => this.number(row, field), seen);
  }

  /** Takes in a log entry. */
  log(entry) {
    const row = this.rows.get(entry.name);
    if (!row) return;
    if (isKill(entry)) [row.oomAt, row.isOomBound] = [entry.time, false];
    else if (isEnd(entry)) [row.status, row.reported] = ['exited', entry.time];
    else return;
    this.settle(row);
  }

  /** Takes in what was before this page was opened. */
  past(row, { times, series, events = [] }) {
    for (const [field, trail] of Object.entries(row.trails)) {
      const before = (series[field] ?? []).slice(-POINTS);
      row.trails[field] = [...before.slice(0, Math.max(0, POINTS - trail.length)), ...trail].slice(-POINTS);
    }
    this.remember(row.name, { times, series, events });
  }

  /** Takes from a history when processes were killed last. */
  remember(name, { times, series, events = [] }) {
    const row = this.rows.get(name);
    if (!row) return;
    const kills = series['memory.oom_kills'] ?? [];
    const rise = kills.findLastIndex((value, at) => at > 0 && value !== null && kills[at - 1] !== null && value > kills[at - 1]);
    const known = events.findLast(isKill)?.time ?? times[rise];
    if (known !== undefined && (row.oomAt === null || row.isOomBound)) [row.oomAt, row.isOomBound] = [known, false];
    this.settle(row);
  }

  /** Which history is wanted of a container: the hour where processes were killed, else as much as a sparkline shows. */
  wanted(row) {
    const since = this.number(row, 'memory.oom_kills') > 0 ? '1h' : `${Math.ceil((POINTS * this.interval) / 1000)}s`;
    return `metric=cpu_percent,memory_percent,memory.oom_kills&since=${since}`;
  }

  /** Worst first; the well ones by name, so that they stay where they are. */
  worstFirst() {
    // What is nearly in order is sorted fast, so the last order is kept.
    const known = new Set(this.order);
    this.order = this.order.filter((row) => this.rows.get(row.name) === row);
    this.order.push(...[...this.rows.values()].filter((row) => !known.has(row)));
    return this.order.sort((a, b) => compare(b.reasons, a.reasons) || byName(a, b));
  }
}

const collator = new Intl.Collator('en', { numeric: true });

/** The order of names: `web-2` before `web-10`. */
export function byName(a, b) {
  return collator.compare(a.name, b.name);
}
