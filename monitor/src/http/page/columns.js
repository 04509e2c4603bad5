// The columns of the overview. A column has a value to sort by and a text to show; `fields` are what colours it.

import { ABSENT, age, bytes, count, number, percent } from './format.js';

const rate = (value) => `${bytes(value)}/s`;

/** A column that shows one field. */
function plainColumn(id, title, hint, field, show) {
  return {
    id,
    title,
    hint,
    fields: [field],
    value: (row, fleet) => fleet.number(row, field),
    text: (value) => (value === null ? ABSENT : show(value)),
  };
}

/** One with a bar and the last minutes. */
function meter(id, title, hint, field) {
  return { ...plainColumn(id, title, hint, field, percent), trail: field };
}

const PRESSURES = [['CPU', 'cpu.pressure_some_avg10'], ['memory', 'memory.pressure_some_avg10'], ['disk', 'io.pressure_some_avg10']];

/** The resource that is waited for most. */
function pressure(row, fleet) {
  const known = PRESSURES.map(([what, field]) => ({ what, value: fleet.number(row, field) })).filter(({ value }) => value !== null);
  return known.reduce((most, next) => (most === null || next.value > most.value ? next : most), null);
}

/** All but the first, which is the name. */
export const COLUMNS = [
  {
    id: 'status',
    title: 'Status',
    hint: 'running, paused or exited',
    fields: ['status'],
    value: (row) => row.status,
    text: (value) => value ?? ABSENT,
  },
  meter('cpu', 'CPU', 'percent of its allowance', 'cpu_percent'),
  plainColumn('cores', 'Cores', 'CPUs in use', 'cpu.usage_cores', (value) => number(value, 'cores')),
  plainColumn('throttled', 'Throttled', 'time for which the CPU quota kept tasks from running', 'cpu.throttled_percent', percent),
  meter('memory', 'Memory', 'percent of its limit, page cache included', 'memory_percent'),
  plainColumn('working', 'Working set', 'memory without the cache that can be taken back', 'memory.working_set_bytes', bytes),
  plainColumn('rx', 'Net in', 'bytes received per second', 'network.rx_bytes_per_second', rate),
  plainColumn('tx', 'Net out', 'bytes sent per second', 'network.tx_bytes_per_second', rate),
  plainColumn('read', 'Disk read', 'bytes read per second', 'io.read_bytes_per_second', rate),
  plainColumn('write', 'Disk write', 'bytes written per second', 'io.write_bytes_per_second', rate),
  {
    id: 'pressure',
    title: 'Waiting',
    hint: 'pressure: share of the last ten seconds in which some task waited, and for what',
    fields: [...PRESSURES.map(([, field]) => field), 'memory.pressure_full_avg10'],
    value: (row, fleet) => pressure(row, fleet)?.value ?? null,
    text: (value, row, fleet) => (value === null ? ABSENT : value === 0 ? '0 %' : `${percent(value)} ${pressure(row, fleet).what}`),
  },
  { ...plainColumn('processes', 'Procs', 'processes', 'process_count', count), fields: ['processes.limit'] },
  {
    ...plainColumn('descriptors', 'Files', 'open descriptors', 'file_descriptors', count),
    fields: ['descriptors.limit_highest_percent'],
  },
  plainColumn('oom', 'OOM', 'processes killed for want of memory', 'memory.oom_kills', count),
  plainColumn('age', 'Age', 'since its first process started', 'uptime_seconds', age),
];
