// What is known of all containers: the latest frame, its findings, and a little of the past for sparklines.

import { byContainer } from './findings.js';

/** Points of a sparkline. */
const POINTS = 60;
const DEFAULT_INTERVAL_MS = 5000;

/** A container. */
class Row {
  constructor(name) {
    this.name = name;
    this.values = [];
    this.status = null;
    this.host = null;
    this.trails = { cpu_percent: [], memory_percent: [] };
    this.findings = [];
    /** Its place among those with findings, the worst first. */
    this.rank = Infinity;
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

  /** Takes in a frame. */
  tick({ taken, fields, rows, findings }) {
    if (!this.isIntervalKnown && this.taken !== null && taken > this.taken) this.interval = taken - this.taken;
    this.taken = taken;
    this.received = performance.now();
    this.index = new Map(fields.map((field, at) => [field, at]));
    for (const [name, values] of Object.entries(rows)) this.report(name, values);
    const found = byContainer(findings);
    const ranks = new Map([...found.keys()].map((name, at) => [name, at]));
    for (const row of this.rows.values()) {
      row.findings = found.get(row.name) ?? [];
      row.rank = ranks.get(row.name) ?? Infinity;
      if (row.findings.some(({ kind }) => kind === 'exited')) row.status = 'exited';
      // A container that is gone stays for as long as the server has a finding about it.
      const isGone = !Object.hasOwn(rows, row.name) || row.status === 'exited' || row.status === 'unknown';
      if (isGone && row.rank === Infinity) this.rows.delete(row.name);
    }
  }

  report(name, values) {
    let row = this.rows.get(name);
    if (!row) this.rows.set(name, row = new Row(name));
    row.values = values;
    row.status = this.text(row, 'status');
    row.host = this.text(row, 'host');
    for (const [field, trail] of Object.entries(row.trails)) {
      trail.push(this.number(row, field));
      if (trail.length > POINTS) trail.shift();
    }
  }

  /** Takes in what was before this page was opened. */
  past(row, { series }) {
    for (const [field, trail] of Object.entries(row.trails)) {
      const before = (series[field] ?? []).slice(-POINTS);
      row.trails[field] = [...before.slice(0, Math.max(0, POINTS - trail.length)), ...trail].slice(-POINTS);
    }
  }

  /**
   * Which history is wanted of a container: as much as a sparkline shows. Of one in which processes were killed, the hour: from
   * its own answer the server learns when that was.
   */
  wanted(row) {
    const since = this.number(row, 'memory.oom_kills') > 0 ? '1h' : `${Math.ceil((POINTS * this.interval) / 1000)}s`;
    return `metric=cpu_percent,memory_percent,memory.oom_kills&since=${since}`;
  }

  /** The worst first; those without findings by name, so that they stay where they are. */
  worstFirst() {
    // What is nearly in order is sorted fast, so the last order is kept.
    const known = new Set(this.order);
    this.order = this.order.filter((row) => this.rows.get(row.name) === row);
    this.order.push(...[...this.rows.values()].filter((row) => !known.has(row)));
    return this.order.sort((a, b) => (a.rank === b.rank ? byName(a, b) : a.rank - b.rank));
  }
}

const collator = new Intl.Collator('en', { numeric: true });

/** The order of names: `web-2` before `web-10`. */
export function byName(a, b) {
  return collator.compare(a.name, b.name);
}
