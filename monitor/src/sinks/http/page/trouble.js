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

/** Levels that are trouble from a bound on: the field, where it begins to matter and where it is serious, and what to say. */
const BOUNDS = [
  ['cpu.throttled_percent', 10, 50, (value) => `throttled ${percent(value)} of periods`],
  ['memory.pressure_some_avg10', 10, 40, (value) => `waits for memory ${percent(value)} of the time`],
  ['io.pressure_some_avg10', 40, Infinity, (value) => `waits for disks ${percent(value)} of the time`],
  ['disk_percent', 90, 97, (value) => `disk ${percent(value)} full`],
  ['descriptors.limit_highest_percent', 90, 98, (value) => `a process at ${percent(value)} of its descriptors`],
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

  memory(get, add);
  for (const [field, low, high, say] of BOUNDS) {
    const value = get(field);
    if (value !== null && value >= low) add(value >= high ? CRITICAL : WARNING, field, say(value));
  }
  cpu(get, add, reasons.some(({ field }) => field === 'cpu.throttled_percent'));
  return reasons.sort((a, b) => compare([b], [a]));
}

function ago(ms) {
  return ms < 1000 ? 'just now' : `${age(ms / 1000)} ago`;
}

/** Page cache gives way when memory is short, so what counts is the working set. */
function memory(get, add) {
  const [used, workingSet, limit] = [get('memory_percent'), get('memory.working_set_bytes'), get('memory.limit_bytes')];
  const share = limit && workingSet !== null ? (workingSet / limit) * 100 : limit ? null : used;
  if (share === null || share < 90) return;
  const of = limit ? bytes(limit) : "the machine's";
  const cache = used !== null && used - share > 2 ? ', cache left out' : '';
  add(share >= 97 ? CRITICAL : WARNING, 'memory_percent', `memory at ${percent(share)} of ${of}${cache}`);
}

function cpu(get, add, isThrottled) {
  if (isThrottled) return;
  const [used, cores, waits] = [get('cpu_percent'), get('cpu.usage_cores'), get('cpu.pressure_some_avg10')];
  if (used !== null && used >= 95) {
    const allowance = cores === null ? '' : ` of ${Number(((cores / used) * 100).toPrecision(2))} cores`;
    add(WARNING, 'cpu_percent', `CPU at ${percent(used)}${allowance}`);
  } else if (waits !== null && waits >= 50) {
    add(WARNING, 'cpu.pressure_some_avg10', `waits for a CPU ${percent(waits)} of the time`);
  }
}

/** The level of a list of reasons. */
export function levelOf(reasons) {
  return reasons.length > 0 ? reasons[0].level : WELL;
}

/** What kills comes before what stands still, and that before what is slow. */
const ORDER = ['status', 'memory.oom_kills', 'memory_percent', 'disk_percent', 'descriptors.limit_highest_percent', 'memory.pressure_some_avg10', 'cpu.throttled_percent'];

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
