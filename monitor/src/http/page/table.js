// The table of the overview. Only the rows in sight exist, so that a thousand containers cost what thirty do.

import { h, plain, setAttribute, setText, svg } from './dom.js';
import { LEVELS, isMachine, levelOf, words } from './findings.js';
import { COLUMNS } from './columns.js';

/** Rows drawn beyond either edge, so that scrolling shows no gap. */
const MARGIN_PX = 300;
const SPARK = { width: 60, height: 20, points: 60 };

/** Where a container's page is. */
export function href(name) {
  return `#/container/${encodeURIComponent(name)}`;
}

/** The rows of containers, and of hosts above theirs, in an element that scrolls. */
export class Table {
  constructor(fleet, scroller, { onSort, onShow }) {
    this.fleet = fleet;
    this.scroller = scroller;
    this.onShow = onShow;
    this.items = [];
    this.shown = new Map();
    this.current = null;
    this.heads = new Map();
    this.above = h('tr', { class: 'spacer', 'aria-hidden': 'true' });
    this.below = h('tr', { class: 'spacer', 'aria-hidden': 'true' });
    this.body = h('tbody', { role: 'rowgroup', onkeydown: (event) => this.key(event) }, this.above, this.below);
    this.element = h('table', { class: 'containers', role: 'table', 'aria-label': 'Containers' },
      h('thead', { role: 'rowgroup' }, h('tr', { role: 'row', 'aria-rowindex': '1' },
        this.head({ id: 'name', title: 'Container', hint: 'its name; in trouble, why' }, onSort),
        COLUMNS.map((column) => this.head(column, onSort)))),
      this.body);
    this.repaint = () => {
      this.frame ??= requestAnimationFrame(() => {
        this.frame = null;
        this.paint();
      });
    };
    scroller.addEventListener('scroll', this.repaint, { passive: true });
    this.observer = new ResizeObserver(() => {
      this.measure();
      this.repaint();
    });
    this.observer.observe(scroller);
  }

  close() {
    this.scroller.removeEventListener('scroll', this.repaint);
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
  }

  head({ id, title, hint }, onSort) {
    const head = h('th', { role: 'columnheader', scope: 'col', class: id },
      h('button', { type: 'button', title: hint, onclick: () => onSort(id) }, title));
    this.heads.set(id, head);
    return head;
  }

  /** Marks the column that the rows are sorted by. */
  mark(id, descending) {
    for (const [other, head] of this.heads) setAttribute(head, 'aria-sort', other === id ? (descending ? 'descending' : 'ascending') : null);
  }

  /** Row heights stand in the style sheet, in rem. */
  measure() {
    const style = getComputedStyle(this.element);
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const height = (name) => Math.round(parseFloat(style.getPropertyValue(name)) * rem);
    this.heights = { well: height('--row'), troubled: height('--row-troubled'), host: height('--row-host') };
  }

  heightOf(item) {
    if (item.host !== undefined) return this.heights.host;
    return item.row.findings.length > 0 ? this.heights.troubled : this.heights.well;
  }

  /** Shows these: `{ row }` for a container, `{ host, text, level }` for the head of a host's. */
  show(items) {
    this.items = items;
    setAttribute(this.element, 'aria-rowcount', String(items.length + 1));
    if (!this.heights) this.measure();
    this.paint();
  }

  paint() {
    const focused = this.body.contains(document.activeElement) ? document.activeElement : null;
    const top = this.scroller.scrollTop - this.body.offsetTop - MARGIN_PX;
    const bottom = top + this.scroller.clientHeight + 2 * MARGIN_PX;
    let at = 0;
    let [before, after] = [0, 0];
    const visible = [];
    for (const [index, item] of this.items.entries()) {
      const height = this.heightOf(item);
      if (at + height <= top) before += height;
      else if (at < bottom) visible.push({ item, index, height });
      else after += height;
      at += height;
    }
    this.above.style.height = `${before}px`;
    this.below.style.height = `${after}px`;
    this.place(visible);
    if (focused && document.activeElement !== focused && focused.isConnected) focused.focus({ preventScroll: true });
    this.onShow(visible.map(({ item }) => item.row).filter(Boolean));
  }

  /** Puts the rows in sight in their order, moving as few as possible. */
  place(visible) {
    const old = this.shown;
    this.shown = new Map();
    const keys = visible.map(({ item }) => (item.row ? `row ${item.row.name}` : `host ${item.host}`));
    const kept = new Set(keys);
    for (const [key, part] of old) if (!kept.has(key)) part.element.remove();
    if (!visible.some(({ item }) => item.row?.name === this.current)) this.current = visible.find(({ item }) => item.row)?.item.row.name ?? null;
    let next = this.above.nextSibling;
    for (const [at, { item, index, height }] of visible.entries()) {
      const part = old.get(keys[at]) ?? (item.row ? this.createRow(item.row.name) : createHost());
      this.shown.set(keys[at], part);
      if (part.element === next) next = next.nextSibling;
      else this.body.insertBefore(part.element, next);
      setAttribute(part.element, 'aria-rowindex', String(index + 2));
      if (part.element.style.height !== `${height}px`) part.element.style.height = `${height}px`;
      if (item.row) this.updateRow(part, item.row);
      else updateHost(part, item);
    }
  }

  createRow(name) {
    const link = h('a', { href: href(name) }, plain(name));
    const why = h('span', { class: 'why' });
    const tag = h('span', { class: 'tag' });
    const cells = COLUMNS.map(createCell);
    const element = h('tr', {
      role: 'row',
      onclick: (event) => {
        if (!event.target.closest('a') && getSelection().isCollapsed) location.hash = href(name);
      },
      onfocusin: () => { this.current = name; },
    }, h('th', { role: 'rowheader', scope: 'row', class: 'name' }, h('span', { class: 'title' }, link, tag), why), cells.map(({ element }) => element));
    return { element, link, why, tag, cells };
  }

  updateRow({ element, link, why, tag, cells }, row) {
    const { fleet } = this;
    setAttribute(element, 'class', LEVELS[levelOf(row.findings)]);
    setAttribute(link, 'tabindex', row.name === this.current ? '0' : '-1');
    setText(why, words(row.findings));
    setAttribute(why, 'title', row.findings.length > 0 ? words(row.findings) : null);
    setText(tag, isMachine(row) ? 'machine' : '');
    for (const [at, cell] of cells.entries()) {
      const column = COLUMNS[at];
      const value = column.value(row, fleet);
      const finding = row.findings.find(({ field }) => column.fields.includes(field));
      setAttribute(cell.element, 'data-level', finding ? LEVELS[finding.level] : null);
      setAttribute(cell.element, 'data-absent', value === null ? '' : null);
      setText(cell.text, column.text(value, row, fleet));
      if (column.trail) updateMeter(cell, value, row.trails[column.trail]);
    }
  }

  key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity }[event.key];
    if (step === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.move(step);
  }

  /** Moves the focus by so many containers. */
  move(step) {
    const rows = this.items.filter(({ row }) => row);
    if (rows.length === 0) return;
    const from = rows.findIndex(({ row }) => row.name === this.current);
    const to = rows[Math.min(Math.max(from + step, 0), rows.length - 1)];
    this.current = to.row.name;
    this.reveal(this.items.indexOf(to));
    this.paint();
    this.shown.get(`row ${this.current}`)?.link.focus({ preventScroll: true });
  }

  /** Scrolls so that an item is in sight, below the head that sticks. */
  reveal(index) {
    const above = this.items.slice(0, index).reduce((sum, item) => sum + this.heightOf(item), this.body.offsetTop);
    const head = this.element.tHead.offsetHeight;
    const { scrollTop, clientHeight } = this.scroller;
    const height = this.heightOf(this.items[index]);
    if (above - head < scrollTop) this.scroller.scrollTop = index === 0 ? 0 : above - head;
    else if (above + height > scrollTop + clientHeight) this.scroller.scrollTop = above + height - clientHeight;
  }
}

function createCell(column) {
  const text = h('span', { class: 'number' });
  const attributes = { role: 'cell', class: column.trail ? `meter ${column.id}` : column.id, 'data-title': column.title };
  if (!column.trail) return { element: h('td', attributes, text), text };
  const line = svg('path', { class: 'line' });
  const area = svg('path', { class: 'area' });
  const bar = h('span', { class: 'fill' });
  const spark = svg('svg', { viewBox: `0 0 ${SPARK.width} ${SPARK.height}`, preserveAspectRatio: 'none', 'aria-hidden': 'true', class: 'spark' }, area, line);
  return { element: h('td', attributes, spark, text, h('span', { class: 'track', 'aria-hidden': 'true' }, bar)), text, line, area, bar };
}

function updateMeter({ line, area, bar }, value, trail) {
  const scale = `scaleX(${Math.min(value ?? 0, 100) / 100})`;
  if (bar.style.transform !== scale) bar.style.transform = scale;
  const { width, height, points } = SPARK;
  const x = (at) => (width * (points - trail.length + at)) / (points - 1);
  let [stroke, fill, start] = ['', '', null];
  for (let at = 0; at <= trail.length; at += 1) {
    const point = trail[at] ?? null;
    if (point === null) {
      if (start !== null) fill += `L${x(at - 1).toFixed(1)} ${height}Z`;
      start = null;
      continue;
    }
    const place = `${x(at).toFixed(1)} ${(height - 1 - (Math.min(point, 100) / 100) * (height - 2)).toFixed(1)}`;
    stroke += start === null ? `M${place}` : `L${place}`;
    fill += start === null ? `M${x(at).toFixed(1)} ${height}L${place}` : `L${place}`;
    start ??= at;
  }
  setAttribute(line, 'd', stroke);
  setAttribute(area, 'd', fill);
}

function createHost() {
  const name = h('strong');
  const text = h('span');
  const cell = h('th', { role: 'cell', colspan: String(COLUMNS.length + 1) }, name, text);
  return { element: h('tr', { role: 'row', class: 'host' }, cell), name, text };
}

function updateHost({ name, text }, item) {
  setText(name, plain(item.host ?? 'unknown host'));
  setText(text, item.text);
  setAttribute(text, 'class', LEVELS[item.level]);
}
