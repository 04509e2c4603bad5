// A container's page: what is wrong with it, its numbers over time, where each comes from, and what it is.

import { Refusal, get, of } from './api.js';
import { Charts, eventNear } from './chart.js';
import { h, plain, setAttribute, setChildren, setText } from './dom.js';
import { duration, time } from './format.js';
import { Numbers } from './numbers.js';
import { Past, causeOf } from './past.js';
import { LEVELS, levelOf } from './findings.js';

const LOG_ENTRIES = 50;
const MINUTE = 60_000;
const SHORTEST = 2 * MINUTE;
const RANGES = [['15 min', '15m', 15 * MINUTE], ['1 h', '1h', 60 * MINUTE], ['6 h', '6h', 360 * MINUTE], ['24 h', '24h', 1440 * MINUTE]];

const line = (field, label, colour, more = {}) => ({ field, label, colour, ...more });
const limit = (field, label) => line(field, label, 'ink', { limit: true });

/** The charts, in the order of the report's groups. */
const CHARTS = [
  { title: 'CPU of its allowance', unit: 'percent', top: 100, lines: [line('cpu_percent', 'in use', 'blue', { fill: true }), line('cpu.throttled_percent', 'time throttled', 'red')] },
  { title: 'CPU cores', unit: 'cores', lines: [line('cpu.usage_cores', 'in use', 'blue', { fill: true }), limit('cpu.limit_cores', 'limit')] },
  { title: 'Memory', unit: 'bytes', lines: [line('memory_usage_bytes', 'usage', 'blue', { fill: true }), line('memory.working_set_bytes', 'working set', 'orange'), line('memory.anon_bytes', 'anonymous', 'teal'), line('memory.file_bytes', 'page cache', 'violet'), line('memory.swap_bytes', 'swap', 'red', { rare: true }), limit('memory.limit_bytes', 'limit')] },
  { title: 'Waiting (pressure)', unit: 'percent', lines: [line('cpu.pressure_some_avg10', 'for a CPU', 'blue'), line('memory.pressure_some_avg10', 'for memory', 'orange'), line('memory.pressure_full_avg10', 'all for memory', 'red', { rare: true }), line('io.pressure_some_avg10', 'for disks', 'teal')] },
  { title: 'Network', unit: 'bytes per second', lines: [line('network.rx_bytes_per_second', 'in', 'blue', { fill: true }), line('network.tx_bytes_per_second', 'out', 'orange')] },
  { title: 'Disk traffic', unit: 'bytes per second', lines: [line('io.read_bytes_per_second', 'read', 'blue', { fill: true }), line('io.write_bytes_per_second', 'written', 'orange')] },
  { title: 'Processes', unit: 'count', lines: [line('process_count', 'processes', 'blue'), line('processes.threads', 'threads', 'teal'), limit('processes.limit', 'limit of threads')] },
  { title: 'Process events', unit: 'per second', lines: [line('processes.forks_per_second', 'created', 'blue'), line('processes.execs_per_second', 'programs started', 'orange'), line('processes.exits_per_second', 'ended', 'teal')] },
  { title: 'Open descriptors', unit: 'count', lines: [line('file_descriptors', 'open', 'blue')] },
  { title: 'Descriptors of the process nearest its limit', unit: 'percent', top: 100, lines: [line('descriptors.limit_highest_percent', 'in use', 'blue', { fill: true })] },
  { title: 'Disk space', unit: 'bytes', lines: [line('disk_usage_bytes', 'root filesystem', 'blue', { fill: true }), line('disk.writable_bytes', 'own layer', 'orange'), limit('disk_total_bytes', 'size')] },
  { title: 'Load of the machine', unit: 'load', lines: [line('load_average_1m', '1 min', 'blue'), line('load_average_5m', '5 min', 'orange'), line('load_average_15m', '15 min', 'teal')] },
];
const FIELDS = [...new Set(CHARTS.flatMap(({ lines }) => lines.map(({ field }) => field)).concat('uptime_seconds', 'memory.oom_kills'))];

let chosenRange = RANGES[1];

/** Opens a container's page. */
export function openContainer(root, fleet, metrics, name) {
  return new ContainerPage(root, fleet, metrics, name);
}

class ContainerPage {
  constructor(root, fleet, metrics, name) {
    Object.assign(this, { root, fleet, name, past: new Past(FIELDS), report: null, entries: [] });
    this.abort = new AbortController();
    this.charts = new Charts((ms, plot) => this.pointAt(ms, plot));
    this.charts.onZoom = (zoom) => { this.reset.hidden = zoom === null; };
    this.numbers = new Numbers(metrics);
    this.level = h('span', { class: 'dot', 'aria-hidden': 'true' });
    this.facts = h('p', { class: 'facts' });
    this.findings = h('ul', { class: 'findings' });
    this.note = h('p', { class: 'note', role: 'status' });
    this.pointed = h('p', { class: 'pointed' });
    this.events = h('ol', { class: 'entries' });
    this.log = h('ol', { class: 'entries' });
    this.identity = h('dl', { class: 'identity' });
    this.reset = h('button', { type: 'button', hidden: true, onclick: () => this.charts.zoomTo(null) }, 'Reset zoom');
    const section = (id, title, ...parts) => h('section', { id, 'aria-labelledby': `${id}-title` }, h('h2', { id: `${id}-title` }, title), parts);
    root.append(
      h('div', { class: 'lead' },
        h('nav', { class: 'crumb', 'aria-label': 'Back' }, h('a', { href: '#/' }, '← All containers')),
        h('h1', {}, this.level, h('span', {}, plain(name))), this.facts, this.findings, this.note),
      h('div', { class: 'toolbar charts-toolbar' }, this.ranges(), this.reset, this.pointed),
      h('div', { class: 'charts' }, CHARTS.map((definition) => this.charts.add(definition))),
      h('div', { class: 'columns' }, section('events', 'Events', this.events), section('log', 'Log', this.log)),
      section('numbers', 'Every number, and where it comes from', this.numbers.element),
      section('about', 'What it is', this.identity));
    this.updateState();
    this.load();
  }

  close() {
    this.abort.abort();
    this.charts.close();
  }

  ranges() {
    this.rangeButtons = RANGES.map((range) => h('button', { type: 'button', onclick: () => {
      chosenRange = range;
      this.charts.zoomTo(null);
      this.load();
    } }, range[0]));
    return h('div', { class: 'segments', role: 'group', 'aria-label': 'Time shown' }, this.rangeButtons);
  }

  async load() {
    const range = chosenRange;
    for (const [at, button] of this.rangeButtons.entries()) setAttribute(button, 'aria-pressed', String(RANGES[at] === range));
    const { signal } = this.abort;
    const [history, log] = await Promise.allSettled([
      get(`${of('history', this.name)}?metric=${FIELDS.join(',')}&since=${range[1]}`, signal),
      get(`${of('logs', this.name)}?limit=${LOG_ENTRIES}`, signal),
    ]);
    // A late answer is not shown in place of what was chosen since.
    if (signal.aborted || range !== chosenRange) return;
    if (history.status === 'fulfilled') {
      this.past.load(history.value);
    }
    if (log.status === 'fulfilled') this.entries = log.value.entries;
    await this.tick();
    this.showLog();
  }

  async tick() {
    this.updateState();
    try {
      this.report = await get(of('containers', this.name), this.abort.signal);
    } catch (error) {
      if (this.abort.signal.aborted) return;
      setText(this.note, error instanceof Refusal && error.status === 404 ? 'There is no report of this container: it has ended, or has never been.' : '');
    }
    if (this.abort.signal.aborted) return;
    if (this.report) {
      this.past.add(this.report);
      this.numbers.show(this.report);
      this.showIdentity();
    }
    this.showCharts();
  }

  /** A new log entry of any container. */
  entry(entry) {
    if (entry.name !== this.name) return;
    this.entries = [...this.entries, entry].slice(-LOG_ENTRIES);
    this.past.log(entry);
    this.showLog();
  }

  restyle() {
    this.charts.restyle();
  }

  /** What the overview knows: the level and the findings. */
  updateState() {
    const row = this.fleet.rows.get(this.name);
    setAttribute(this.level, 'class', `dot ${row ? LEVELS[levelOf(row.findings)] : 'notice'}`);
    const found = row ? row.findings : [];
    setChildren(this.findings, found.map(({ level, text }) => h('li', { class: LEVELS[level] }, text)));
    if (row) setText(this.note, '');
    const uptime = row && this.fleet.number(row, 'uptime_seconds');
    const facts = row ? [row.status, row.host && `on ${plain(row.host)}`, this.report?.runtime, this.report?.image, uptime !== null && `up ${duration(uptime)}`] : [];
    setText(this.facts, facts.filter(Boolean).join(' · '));
  }

  showCharts() {
    const now = Math.max(this.fleet.now(), this.past.times.at(-1) ?? 0);
    const [first] = this.past.times;
    // A history that has just begun is not pressed against the edge.
    const from = Math.max(now - chosenRange[2], Math.min(first ?? 0, now - SHORTEST));
    const range = [from, now];
    const events = this.past.events();
    this.charts.show(this.past.times, this.past.series, events, range, (name) => causeOf(this.report, name));
    const inRange = events.filter(({ time: at, until }) => (until ?? at) >= range[0]);
    setChildren(this.events, inRange.length > 0 ? inRange.reverse().map(entryElement) : [h('li', { class: 'none' }, 'Nothing happened in this time.')]);
    const isShort = first !== undefined && first > now - chosenRange[2] * 0.9;
    this.beginning = isShort ? `The history begins at ${time(first)}.` : '';
    if (!this.isPointed) setText(this.pointed, this.beginning);
  }

  showLog() {
    setChildren(this.log, this.entries.length > 0 ? [...this.entries].reverse().map(entryElement) : [h('li', { class: 'none' }, 'No entry yet.')]);
  }

  showIdentity() {
    const { report } = this;
    const since = report.network?.since;
    const facts = [
      ['Host', report.host], ['Scope', report.scope], ['Runtime', report.runtime], ['Image', report.image], ['Container', report.container_id],
      ['cgroup', report.cgroup], ['cgroup id', report.cgroup_id], ['Last report', time(Date.parse(report.timestamp))],
      ['Interval', report.interval_seconds && `${report.interval_seconds} s`], ['Cost of a reading', report.collect_micros !== undefined && `${report.collect_micros} µs, all containers`],
      ['eBPF counts since', since && time(Date.parse(since))],
      ...Object.entries(report.labels ?? {}).map(([key, value]) => [`label ${key}`, value]),
    ].filter(([, value]) => value || value === 0);
    setChildren(this.identity, facts.flatMap(([key, value]) => [h('dt', {}, plain(key)), h('dd', {}, plain(String(value)))]));
  }

  /** What the cursor points at, in words. */
  pointAt(ms, plot) {
    this.isPointed = ms !== null;
    if (ms === null) {
      setText(this.pointed, this.beginning ?? '');
      return;
    }
    const [from, to] = this.charts.visible;
    const event = eventNear(this.charts.events, ms, ((to - from) / plot.width) * 6);
    setText(this.pointed, event ? `${time(ms)} · ${event.message}` : time(ms));
  }
}

function entryElement({ time: at, until, level, message }) {
  return h('li', { class: level.toLowerCase() }, h('time', { datetime: new Date(at).toISOString() }, time(at)),
    h('span', { class: 'severity' }, level), h('span', {}, plain(message) + (until ? ` for ${duration((until - at) / 1000)}` : '')));
}
