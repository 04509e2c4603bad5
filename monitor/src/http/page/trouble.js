// What is wrong with a container, and why, in words. Pure: numbers in, sentences out.

import { age, bytes, count, percent } from './format.js';

/** How bad it is, worst last; the words are also classes in the style sheet. */
export const LEVELS = ['well', 'notice', 'warning', 'critical'];
const [WELL, NOTICE, WARNING, CRITICAL] = [0, 1, 2, 3];

/** What happened once is trouble for so long. */
const RECENT_MS = 10 * 60_000;
const LATELY_MS = 60 * 60_000;
/** A container has this many intervals to report before it is called silent, and lost. */
const SILENT_INTERVALS = 3;
const LOST_INTERVALS = 6;

/** A number's share of another one, in percent, or null. */
const share = (part, whole) => (part !== null && whole ? (part / whole) * 100 : null);
const limit = (value, show, otherwise) => (value === null ? otherwise : show(value));

/** Page cache gives way when memory is short, so what counts is the working set. */
const memory = (get) => share(get('memory.working_set_bytes'), get('memory.limit_bytes')) ?? get('memory_percent');

/** What throttling explains is not said again. */
const unlessThrottled = (field) => (get) => ((get('cpu.throttled_percent') ?? 0) >= 10 ? null : get(field));

/**
 * Numbers that are trouble from a bound on, as in `top`: what the number is about, where it begins to matter and where it is
 * serious, what is compared with that, and what to say.
 */
const BOUNDS = [
  ['memory_percent', 90, 97, memory, (value, get) => {
    const cache = get('memory_percent') - value > 2 ? ', cache left out' : '';
    return `memory at ${percent(value)} of ${limit(get('memory.limit_bytes'), bytes, "the machine's")}${cache}`;
  }],
  ['processes.limit', 90, 99, (get) => share(get('processes.threads'), get('processes.limit')), (value, get) => `${percent(value)} of ${count(get('processes.limit'))} tasks: no more can be started beyond`],
  ['descriptors.limit_highest_percent', 90, 98, null, (value) => `a process at ${percent(value)} of its descriptors`],
  ['disk_percent', 90, 97, null, (value) => `disk ${percent(value)} full`],
  ['disk.inodes_used', 90, 97, (get) => share(get('disk.inodes_used'), get('disk.inodes_total')), (value) => `inodes ${percent(value)} used`],
  ['cpu.throttled_percent', 10, 50, null, (value) => `throttled ${percent(value)} of periods`],
  ['memory.pressure_full_avg10', 5, 25, null, (value) => `stalled for memory ${percent(value)} of the time`],
  ['io.pressure_some_avg10', 40, Infinity, null, (value) => `waits for disks ${percent(value)} of the time`],
  ['cpu_percent', 95, Infinity, unlessThrottled('cpu_percent'), (value, get) => {
    const cores = get('cpu.usage_cores');
    return `CPU at ${percent(value)}${cores === null ? '' : ` of ${Number(((cores / value) * 100).toPrecision(2))} cores`}`;
  }],
  ['cpu.pressure_some_avg10', 50, Infinity, unlessThrottled('cpu.pressure_some_avg10'), (value) => `waits for a CPU ${percent(value)} of the time`],
];

/**
 * The reasons why a container is in trouble, worst first, each `{ level, text, field }`; none when it is well.
 * `get(field)` gives a number or null; `seen` says what is known besides numbers.
 */
export function judge(get, seen) {
  const reasons = [];
  const add = (level, field, text) => reasons.push({ level, field, text });

  const silence = seen.now - seen.reported;
  if (seen.status === 'exited') add(NOTICE, 'status', `ended ${ago(silence)}`);
  // The server of a fleet says `unknown` of a container whose report has expired.
  else if (seen.status === 'unknown') add(CRITICAL, 'status', silence > 0 ? `no report for ${age(silence / 1000)}` : 'no report any more');
  else if (silence > Math.max(SILENT_INTERVALS * seen.interval, seen.patience)) {
    add(silence > Math.max(LOST_INTERVALS * seen.interval, 2 * seen.patience) ? CRITICAL : WARNING, 'status', `no report for ${age(silence / 1000)}`);
  }
  if (seen.status === 'paused') add(NOTICE, 'status', 'frozen');

  const killed = seen.now - (seen.oomAt ?? -Infinity);
  if (killed < LATELY_MS) add(killed < RECENT_MS ? CRITICAL : WARNING, 'memory.oom_kills', seen.isOomBound ? `OOM kill in the last ${age(killed / 1000)}` : `OOM kill ${ago(killed)}`);
  const restarted = seen.now - (seen.restartedAt ?? -Infinity);
  if (restarted < RECENT_MS) add(WARNING, 'uptime_seconds', `restarted ${ago(restarted)}`);

  for (const [field, low, high, value, say] of BOUNDS) {
    const now = value ? value(get) : get(field);
    if (now !== null && now >= low) add(now >= high ? CRITICAL : WARNING, field, say(now, get));
  }
  return reasons.sort((a, b) => compare([b], [a]));
}

function ago(ms) {
  return ms < 1000 ? 'just now' : `${age(ms / 1000)} ago`;
}

/** The level of a list of reasons. */
export function levelOf(reasons) {
  return reasons.length > 0 ? reasons[0].level : WELL;
}

/** What kills comes before what stands still, and that before what is slow. */
const ORDER = ['status', 'memory.oom_kills', ...BOUNDS.map(([field]) => field)];

/** By how much one list of reasons is worse than another one; zero when they are alike. */
export function compare(reasons, others) {
  const rank = ([worst]) => (worst && ORDER.includes(worst.field) ? ORDER.length - ORDER.indexOf(worst.field) : 0);
  return levelOf(reasons) - levelOf(others) || rank(reasons) - rank(others) || reasons.length - others.length;
}

/** All reasons in a line. */
export function words(reasons) {
  return reasons.map(({ text }) => text).join(', ');
}

/** The machine itself is reported under its host's name. */
export function isMachine({ name, host }) {
  return name === host;
}

function allWell(containers) {
  if (containers === 0) return 'The machine is well; no container runs on it.';
  return containers === 1 ? 'The only container is well.' : `All ${count(containers)} containers are well.`;
}

/**
 * One sentence for everything: `{ level, name, text, rest }`; the name is apart because it is shown as one. The rows come
 * worst first.
 */
export function headline(rows) {
  if (rows.length === 0) return { level: NOTICE, text: 'No container has reported yet.' };
  const troubled = rows.filter(({ reasons }) => levelOf(reasons) >= WARNING);
  if (troubled.length === 0) return { level: WELL, text: allWell(rows.filter((row) => !isMachine(row)).length) };
  const [worst] = troubled;
  const level = levelOf(worst.reasons);
  const others = troubled.length - 1;
  const rest = others === 0 ? '' : `${count(others)} more ${others === 1 ? 'needs' : 'need'} a look.`;
  return { level, name: worst.name, text: `${level === CRITICAL ? 'is in trouble' : 'needs a look'}: ${words(worst.reasons)}.`, rest };
}
