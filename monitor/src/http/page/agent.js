// The agent's own state: what it can read, what it was refused and the remedy, where it writes, what it costs.

import { get } from './api.js';
import { h, plain } from './dom.js';
import { duration, time } from './format.js';

const STATES = { attached: 'well', off: 'notice', refused: 'critical' };
const REFRESH_MS = 2000;

/** Opens the agent's page. */
export function openAgent(root, fleet) {
  return new AgentPage(root, fleet);
}

class AgentPage {
  constructor(root, fleet) {
    this.fleet = fleet;
    this.abort = new AbortController();
    this.body = h('div', {});
    root.append(h('div', { class: 'lead' }, h('h1', {}, 'Agent')), this.body);
    this.tick();
  }

  close() {
    this.abort.abort();
  }

  async tick() {
    if (performance.now() - (this.asked ?? -Infinity) < REFRESH_MS) return;
    this.asked = performance.now();
    const state = await get('agent', this.abort.signal).catch(() => null);
    if (state === null || this.abort.signal.aborted) return;
    const text = JSON.stringify(state);
    if (text === this.shown) return;
    this.shown = text;
    this.body.replaceChildren(...this.sections(state));
  }

  sections(state) {
    const running = state.started ? `${time(Date.parse(state.started))}, ${duration(Math.max(0, (this.fleet.now() - Date.parse(state.started)) / 1000))} ago` : null;
    const sinks = Object.entries(state.sinks);
    const section = (title, ...parts) => h('section', {}, h('h2', {}, title), parts);
    return [
      section('State', facts([
        ['Version', state.version], ['Host', state.host], ['Scope', state.scope], ['Running since', running], ['Containers', state.containers],
        ['Interval', state.interval_seconds && `${state.interval_seconds} s`], ['Cost of a reading', cost(state)],
      ])),
      section('Kernel programs', state.programs?.length > 0 ? programs(state.programs) : h('p', {}, 'None: this process reads what agents have written.')),
      section(state.scope === null ? 'Where reports come from' : 'Where reports go', sinks.length > 0 ? facts(sinks) : h('p', {}, 'Nowhere but to this page.')),
    ];
  }
}

function cost({ collect_micros: micros, interval_seconds: interval }) {
  if (typeof micros !== 'number') return null;
  const share = interval ? `, ${((micros / 1e4) / interval).toFixed(3)} % of the interval` : '';
  return `${micros < 10_000 ? `${micros} µs` : `${(micros / 1000).toFixed(1)} ms`}${share}`;
}

function facts(pairs) {
  return h('dl', { class: 'identity' }, pairs.filter(([, value]) => value !== null && value !== undefined)
    .flatMap(([key, value]) => [h('dt', {}, key), h('dd', {}, plain(String(value)))]));
}

function programs(list) {
  const row = ({ name, state, cause, cure }) => h('tr', {}, h('th', { scope: 'row' }, name),
    h('td', {}, h('span', { class: `badge ${STATES[state] ?? 'notice'}` }, state)),
    h('td', {}, cause ? plain(cause) : '', cure ? h('p', { class: 'remedy' }, 'Remedy: ', h('code', {}, plain(cure))) : null));
  return h('div', { class: 'wide', role: 'region', tabindex: '0', 'aria-label': 'Kernel programs' }, h('table', { class: 'programs', 'aria-label': 'Kernel programs' },
    h('thead', {}, h('tr', {}, ['Program', 'State', 'Why'].map((title) => h('th', { scope: 'col' }, title)))),
    h('tbody', {}, list.map(row))));
}
