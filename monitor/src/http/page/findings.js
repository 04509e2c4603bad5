// The findings about containers in words and levels of the page. What counts as a finding, and which is worse, the server says.

import { count } from './format.js';
import { groupBy } from './lists.js';

/** The levels, worst last; the words are also classes in the style sheet. */
export const LEVELS = ['well', 'notice', 'warning', 'critical'];
const [WELL, NOTICE, WARNING, CRITICAL] = [0, 1, 2, 3];
const BY_NAME = { INFO: NOTICE, WARN: WARNING, ERROR: CRITICAL };

/** The findings of a frame by container, the worst container first, each `{ kind, level, field, text }`. */
export function byContainer(findings) {
  return groupBy(findings.map((finding) => ({ ...finding, level: BY_NAME[finding.level] ?? NOTICE })), ({ container }) => container);
}

/** The level of the findings about a container. */
export function levelOf(findings) {
  return findings.length > 0 ? findings[0].level : WELL;
}

/** All findings in a line. */
export function words(findings) {
  return findings.map(({ text }) => text).join(', ');
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
  const troubled = rows.filter(({ findings }) => levelOf(findings) >= WARNING);
  if (troubled.length === 0) return { level: WELL, text: allWell(rows.filter((row) => !isMachine(row)).length) };
  const [worst] = troubled;
  const level = levelOf(worst.findings);
  const others = troubled.length - 1;
  const rest = others === 0 ? '' : `${count(others)} more ${others === 1 ? 'needs' : 'need'} a look.`;
  return { level, name: worst.name, text: `${level === CRITICAL ? 'is in trouble' : 'needs a look'}: ${words(worst.findings)}.`, rest };
}
