// The past of one container: columns of numbers that grow with each report, and the events that they tell of.

/** Reports may be late; so many intervals without one are a gap. */
const GAP_INTERVALS = 4;
/** No more points than the server sends. */
const MOST = 2000;
/** One text may be the cause of every number. */
const LONGEST_CAUSE = 2000;

/** A field of a report by its path. */
export function field(report, path) {
  return path.split('.').reduce((value, part) => value?.[part], report) ?? null;
}

/** Why a number of a report is null, if it says so: `absent` has an index into `causes`, or before schema 3 the text. */
export function causeOf(report, name) {
  const told = report?.absent?.[name];
  const text = typeof told === 'number' && Array.isArray(report.causes) ? report.causes[told] : told;
  return typeof text === 'string' ? text.slice(0, LONGEST_CAUSE) : undefined;
}

/** Columns of numbers over time. */
export class Past {
  constructor(fields) {
    this.fields = fields;
    this.clear();
  }

  clear() {
    this.times = [];
    this.series = Object.fromEntries(this.fields.map((name) => [name, []]));
    this.told = [];
  }

  /** Takes the server's history. */
  load({ times, series, events = [] }) {
    this.times = [...times];
    for (const name of this.fields) this.series[name] = [...(series[name] ?? times.map(() => null))];
    this.told = [...events];
  }

  /** Takes a new report; one that is known already changes nothing. */
  add(report) {
    const taken = Date.parse(report.timestamp);
    if (!(taken > (this.times.at(-1) ?? 0))) return;
    this.times.push(taken);
    for (const name of this.fields) this.series[name].push(field(report, name));
    if (this.times.length > MOST) {
      this.times.shift();
      for (const name of this.fields) this.series[name].shift();
    }
  }

  log(entry) {
    this.told.push(entry);
  }

  /** What the log tells, and what the numbers tell: gaps without a report, and restarts. Oldest first. */
  events() {
    const seen = [];
    const steps = this.times.slice(1).map((time, at) => time - this.times[at]);
    const usual = [...steps].sort((a, b) => a - b)[steps.length >> 1] ?? 0;
    const uptime = this.series.uptime_seconds ?? [];
    for (const [at, step] of steps.entries()) {
      const [from, to] = [this.times[at], this.times[at + 1]];
      if (step > GAP_INTERVALS * usual) seen.push({ time: from, until: to, level: 'WARN', message: 'agent away: no reports' });
      if (uptime[at] !== null && uptime[at + 1] !== null && uptime[at + 1] < uptime[at] - 2) {
        seen.push({ time: Math.max(from, to - uptime[at + 1] * 1000), level: 'WARN', message: 'the container was restarted' });
      }
    }
    return [...this.told, ...seen].sort((a, b) => a.time - b.time);
  }
}
