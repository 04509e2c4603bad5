// The overview: what is wrong, in one sentence; below it a row for each container.

import { get, of } from './api.js';
import { COLUMNS } from './columns.js';
import { h, isComposing, plain, setAttribute, setText } from './dom.js';
import { byName } from './fleet.js';
import { count } from './format.js';
import { groupBy } from './lists.js';
import { Table, href } from './table.js';
import { LEVELS, headline, levelOf } from './findings.js';

const WORST = 'worst';
const WARNING = LEVELS.indexOf('warning');
/** So many histories are asked for at once. */
const REQUESTS = 4;

/** What the visitor chose stays while the page lives. */
const chosen = { sort: WORST, descending: true, filter: '', troubled: false, byHost: true, scroll: 0 };

/** Opens the overview in an element that scrolls. */
export function openOverview(root, fleet) {
  const view = new Overview(root, fleet);
  view.update();
  root.scrollTop = chosen.scroll;
  return view;
}

class Overview {
  constructor(root, fleet) {
    this.root = root;
    this.fleet = fleet;
    this.queue = [];
    this.running = 0;
    this.table = new Table(fleet, root, { onSort: (id) => this.sortBy(id), onShow: (rows) => this.fetchPast(rows) });
    this.worst = { link: h('a'), words: h('span'), rest: h('span', { class: 'rest' }) };
    this.headline = h('h1', { class: 'headline' }, this.worst.link, ' ', this.worst.words, ' ', this.worst.rest);
    this.announced = h('p', { class: 'hidden', role: 'status' });
    this.empty = h('p', { class: 'empty' });
    root.append(
      h('section', { class: 'lead' }, this.headline, this.announced, this.toolbar()),
      this.table.element,
      this.empty,
    );
  }

  close() {
    chosen.scroll = this.root.scrollTop;
    this.isClosed = true;
    this.table.close();
  }

  toolbar() {
    this.filter = h('input', {
      type: 'search', placeholder: 'Filter by name, host, finding', 'aria-label': 'Filter', autocomplete: 'off', spellcheck: 'false', value: chosen.filter,
      oninput: () => this.choose({ filter: this.filter.value }),
      onkeydown: (event) => {
        if (isComposing(event)) return;
        if (event.key === 'ArrowDown' || event.key === 'Enter') this.table.move(0);
        if (event.key === 'Escape') this.choose({ filter: this.filter.value = '' });
      },
    });
    this.all = h('button', { type: 'button', onclick: () => this.choose({ troubled: false }) });
    this.troubled = h('button', { type: 'button', onclick: () => this.choose({ troubled: true }) });
    this.sort = h('select', { 'aria-label': 'Sort by', onchange: () => this.sortBy(this.sort.value, true) },
      [{ id: WORST, title: 'Worst first' }, { id: 'name', title: 'Name' }, ...COLUMNS].map(({ id, title }) => h('option', { value: id }, title)));
    this.hosts = h('input', { type: 'checkbox', onchange: () => this.choose({ byHost: this.hosts.checked }) });
    this.hostsLabel = h('label', { class: 'check' }, this.hosts, 'Host by host');
    return h('div', { class: 'toolbar', role: 'search' },
      this.filter,
      h('div', { class: 'segments', role: 'group', 'aria-label': 'Which containers' }, this.all, this.troubled),
      h('label', { class: 'sort' }, h('span', {}, 'Sort'), this.sort),
      this.hostsLabel);
  }

  choose(change) {
    Object.assign(chosen, change);
    this.update();
  }

  /** Sorts by a column; once more turns the order around, a third time is back to the worst first. */
  sortBy(id, isFirst = false) {
    const downFirst = !['name', 'status'].includes(id);
    if (isFirst || chosen.sort !== id) this.choose({ sort: id, descending: downFirst });
    else if (chosen.descending === downFirst) this.choose({ descending: !downFirst });
    else this.choose({ sort: WORST, descending: true });
  }

  tick() {
    this.update();
  }

  /** The key that begins the filter. */
  key(event) {
    if (event.key === '/') this.filter.focus();
    else if (event.key === 'ArrowDown' || event.key === 'ArrowUp') this.table.move(0);
    else return false;
    return true;
  }

  update() {
    const rows = this.fleet.worstFirst();
    this.say(headline(rows));
    const troubled = rows.filter(({ findings }) => levelOf(findings) >= WARNING).length;
    setText(this.all, `All ${count(rows.length)}`);
    setText(this.troubled, `In trouble ${count(troubled)}`);
    setAttribute(this.all, 'aria-pressed', String(!chosen.troubled));
    setAttribute(this.troubled, 'aria-pressed', String(chosen.troubled));
    const hasHosts = new Set(rows.map(({ host }) => host)).size > 1;
    this.hostsLabel.hidden = !hasHosts;
    this.hosts.checked = chosen.byHost;
    this.sort.value = chosen.sort;
    this.table.mark(chosen.sort, chosen.descending);
    const fitting = this.ordered(rows.filter((row) => fits(row)));
    this.table.show(hasHosts && chosen.byHost ? this.grouped(fitting) : fitting.map((row) => ({ row })));
    this.empty.hidden = fitting.length > 0;
    setText(this.empty, rows.length === 0 ? '' : chosen.troubled && !chosen.filter ? 'Nothing is in trouble.' : 'No container fits the filter.');
  }

  say({ level, name, text, rest }) {
    setAttribute(this.headline, 'class', `headline ${LEVELS[level]}`);
    const { link, words } = this.worst;
    link.hidden = name === undefined;
    setText(link, plain(name ?? ''));
    setAttribute(link, 'href', name === undefined ? null : href(name));
    setText(words, text);
    setText(this.worst.rest, rest ?? '');
    // Read aloud when it is about another container or another degree, not each second.
    const key = `${level} ${name}`;
    if (key !== this.spoken) setText(this.announced, this.headline.textContent);
    this.spoken = key;
  }

  ordered(rows) {
    const { sort, descending } = chosen;
    if (sort === WORST) return rows;
    const column = COLUMNS.find(({ id }) => id === sort);
    const value = column ? (row) => column.value(row, this.fleet) : (row) => row.name;
    const direction = descending ? -1 : 1;
    const compare = (a, b) => {
      if (!column) return direction * byName(a, b);
      const [x, y] = [value(a), value(b)];
      // What was not measured comes last in either order.
      if (x === null || y === null) return (x === null) - (y === null) || byName(a, b);
      return direction * (x < y ? -1 : x > y ? 1 : 0) || byName(a, b);
    };
    return rows.sort(compare);
  }

  /** Host by host, that of the first row first. */
  grouped(rows) {
    const hosts = groupBy(rows, ({ host }) => host);
    return [...hosts].flatMap(([host, rows]) => {
      const troubled = rows.filter(({ findings }) => levelOf(findings) >= WARNING);
      const level = Math.max(...rows.map(({ findings }) => levelOf(findings)));
      const text = troubled.length > 0 ? `${count(troubled.length)} of ${count(rows.length)} in trouble` : `${count(rows.length)} well`;
      return [{ host, text, level }, ...rows.map((row) => ({ row }))];
    });
  }

  /** Sparklines begin with what was before; those in sight first, and whoever lost a process to want of memory. */
  fetchPast(rows) {
    const killed = [...this.fleet.rows.values()].filter((row) => this.fleet.number(row, 'memory.oom_kills') > 0);
    this.queue = [...new Set([...rows, ...killed])].filter((row) => !row.hasPast);
    this.work();
  }

  async work() {
    while (this.running < REQUESTS && this.queue.length > 0 && !this.isClosed) {
      const row = this.queue.shift();
      row.hasPast = true;
      this.running += 1;
      get(`${of('history', row.name)}?${this.fleet.wanted(row)}`)
        .then((history) => this.fleet.past(row, history), () => { /* Without a past a sparkline begins now. */ })
        .finally(() => {
          this.running -= 1;
          this.work();
        });
    }
  }
}

function fits(row) {
  if (chosen.troubled && levelOf(row.findings) < WARNING) return false;
  if (chosen.filter === '') return true;
  const text = `${row.name} ${row.host ?? ''} ${row.status ?? ''} ${row.findings.map(({ text }) => text).join(' ')}`.toLowerCase();
  return chosen.filter.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}
