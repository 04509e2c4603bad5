// Every number of a report, with its source; what is absent, with the cause.

import { h, setAttribute, setText } from './dom.js';
import { number } from './format.js';
import { groupBy } from './lists.js';
import { causeOf, field } from './past.js';

/** Which entry of a report's `sources` speaks for a number, by the beginning of its name. */
const GROUPS = [
  ['cpu', 'cpu'], ['memory', 'memory'], ['network', 'network'], ['disk_read', 'disk_io'], ['disk_write', 'disk_io'], ['io.', 'disk_io'],
  ['disk', 'disk_usage'], ['process', 'processes'], ['file_descriptors', 'file_descriptors'], ['descriptors', 'file_descriptors'],
];
/** How the origins in the table of numbers begin or end, by the word in `sources`. */
const BACKENDS = { cgroup2: '(cgroup v2)', cgroup1: '(cgroup v1)', ebpf: 'eBPF', procfs: '/proc', statfs: 'statfs' };
const CONTRACT = 'General';

/** The table. */
export class Numbers {
  constructor(metrics) {
    const groups = groupBy(metrics, ({ name }) => (name.includes('.') ? name.split('.')[0] : CONTRACT));
    this.rows = [];
    this.element = h('div', { class: 'wide', role: 'region', tabindex: '0', 'aria-label': 'Every number' }, h('table', { class: 'numbers', 'aria-label': 'Every number' },
      h('thead', {}, h('tr', {}, ['Number', 'Now', 'From', 'Meaning'].map((title) => h('th', { scope: 'col' }, title)))),
      [...groups].map(([group, members]) => h('tbody', {},
        h('tr', { class: 'group' }, h('th', { colspan: '4', scope: 'rowgroup' }, group)),
        members.map((metric) => this.createRow(metric))))));
  }

  createRow(metric) {
    const now = h('td', { class: 'now' });
    const from = h('td', { class: 'from' });
    this.rows.push({ metric, now, from });
    return h('tr', { 'data-metric': metric.name }, h('th', { scope: 'row' }, metric.name), now, from, h('td', { class: 'help' }, metric.help));
  }

  show(report) {
    for (const { metric, now, from } of this.rows) {
      const value = field(report, metric.name);
      setText(now, number(value, metric.unit));
      setAttribute(now, 'title', value === null ? null : `${value} ${metric.unit}`);
      setText(from, value === null ? (causeOf(report, metric.name) ?? 'the report does not say why it is absent') : source(metric, report));
      setAttribute(from.parentElement, 'class', value === null ? 'absent' : null);
    }
  }
}

/** Where a number came from: its own origin of the backend that its group was read from, if that is among them. */
function source({ name, origins }, report) {
  if (origins.length === 0) return 'computed';
  const group = GROUPS.find(([beginning]) => name.startsWith(beginning))?.[1];
  const backend = report.sources?.[group];
  const own = origins.find((origin) => backend && origin.includes(BACKENDS[backend]));
  return own ?? origins.join(' or ');
}
