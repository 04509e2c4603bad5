// A chart over time: lines, limits, events, a cursor and a zoom that all charts of a page share.

import { h, setAttribute, setText, svg } from './dom.js';
import { ABSENT, number } from './format.js';
import { lastKnown } from './lists.js';

const HEIGHT = 156;
/** A limit that is so many times above everything else would flatten it; it is then only named. */
const LIMIT_REACH = 3;
const EVENT_COLOURS = { ERROR: 'critical', WARN: 'warning' };

/** Colours of the style sheet in the present theme: a canvas knows no variables. Asked once, for it is expensive. */
class Palette {
  constructor() {
    this.known = new Map();
  }

  get(name) {
    if (!this.known.has(name)) {
      const probe = document.body.appendChild(h('span', { hidden: true }));
      probe.style.color = `var(--${name})`;
      this.known.set(name, getComputedStyle(probe).color);
      probe.remove();
    }
    return this.known.get(name);
  }
}

/** What the charts of a page have in common. */
export class Charts {
  constructor(onCursor) {
    this.charts = [];
    this.events = [];
    this.zoom = null;
    this.range = [0, 1];
    this.onCursor = onCursor;
    this.palette = new Palette();
    this.sync = uPlot.sync(`charts-${Math.random()}`);
    this.observer = new ResizeObserver((entries) => {
      for (const { target } of entries) this.charts.find(({ canvas }) => canvas === target)?.resize();
    });
  }

  add(definition) {
    const chart = new Chart(this, definition);
    this.charts.push(chart);
    this.observer.observe(chart.canvas);
    return chart.element;
  }

  /** Shows what is known: times in ms, a column of numbers for each field, events, the time from and to, and why a field is null. */
  show(times, series, events, range, cause) {
    this.events = events;
    this.range = range;
    const seconds = times.map((ms) => ms / 1000);
    for (const chart of this.charts) chart.show(seconds, series, cause);
  }

  zoomTo(zoom) {
    this.zoom = zoom;
    for (const chart of this.charts) chart.applyRange();
    this.onZoom?.(zoom);
  }

  get visible() {
    return this.zoom ?? this.range;
  }

  /** Draws anew in the colours of the theme. */
  restyle() {
    this.palette = new Palette();
    for (const chart of this.charts) chart.rebuild();
  }

  close() {
    this.observer.disconnect();
    for (const chart of this.charts) chart.plot?.destroy();
  }
}

/** One chart: `{ title, unit, lines: [{ field, label, colour, limit, rare }], top }`; a rare line is named where it is not zero. */
class Chart {
  constructor(page, definition) {
    this.page = page;
    this.definition = definition;
    this.hidden = new Set();
    this.legend = definition.lines.map((line, at) => this.legendEntry(line, at));
    this.canvas = h('div', { class: 'canvas', role: 'img' });
    this.cause = h('p', { class: 'cause', hidden: true });
    this.element = h('figure', { class: 'chart', 'data-chart': definition.title },
      h('figcaption', {}, h('h3', {}, definition.title), h('ul', { class: 'legend' }, this.legend.map(({ element }) => element))),
      this.canvas, this.cause);
  }

  legendEntry({ label, colour: name, limit }, at) {
    const value = h('span', { class: 'value' });
    const swatch = svg('svg', { viewBox: '0 0 14 4', class: 'swatch', 'aria-hidden': 'true' }, svg('path', { d: 'M0 2H14', class: `stroke-${name}${limit ? ' dashed' : ''}` }));
    const button = h('button', { type: 'button', 'aria-pressed': 'true', title: `Show or hide ${label}`, onclick: () => this.toggle(at) }, swatch, `${label} `, value);
    return { element: h('li', {}, button), button, value };
  }

  toggle(at) {
    if (!this.hidden.delete(at)) this.hidden.add(at);
    setAttribute(this.legend[at].button, 'aria-pressed', String(!this.hidden.has(at)));
    this.plot?.setSeries(at + 1, { show: !this.hidden.has(at) });
  }

  show(seconds, series, cause) {
    const { lines, title, unit } = this.definition;
    const columns = lines.map(({ field }) => series[field] ?? seconds.map(() => null));
    const isKnown = columns.some((column, at) => !lines[at].limit && column.some((value) => value !== null));
    this.data = [seconds, ...columns];
    this.canvas.hidden = !isKnown;
    this.cause.hidden = isKnown;
    for (const [at, { element }] of this.legend.entries()) element.hidden = columns[at].every((value) => value === null || (value === 0 && lines[at].rare));
    if (!isKnown) {
      setText(this.cause, seconds.length === 0 ? 'No reading in this time.' : `Not measured: ${cause(lines[0].field) ?? 'the reports do not say why'}`);
      return;
    }
    if (this.plot) this.plot.setData(this.data, false);
    else this.rebuild();
    this.applyRange();
    const spoken = lines.filter((_, at) => !this.legend[at].element.hidden)
      .map((line) => `${line.label} ${number(lastKnown(columns[lines.indexOf(line)]), unit)}`);
    setAttribute(this.canvas, 'aria-label', `${title}, now: ${spoken.join(', ')}`);
    this.readout(null);
  }

  /** The numbers at the cursor, else the latest. */
  readout(at) {
    const last = this.data[0].length - 1;
    for (const [index, { value }] of this.legend.entries()) {
      setText(value, last < 0 ? ABSENT : number(this.data[index + 1][at ?? last], this.definition.unit));
    }
  }

  applyRange() {
    const [from, to] = this.page.visible;
    this.plot?.setScale('x', { min: from / 1000, max: to / 1000 });
  }

  resize() {
    const width = this.canvas.clientWidth;
    if (width > 0 && width !== this.plot?.width) this.plot?.setSize({ width, height: HEIGHT });
  }

  rebuild() {
    if (!this.data || this.canvas.hidden) return;
    this.plot?.destroy();
    this.plot = new uPlot(this.options(), this.data, this.canvas);
    this.applyRange();
  }

  options() {
    const { lines, unit } = this.definition;
    const colour = (name) => this.page.palette.get(name);
    const [ink, grid] = [colour('muted'), colour('grid')];
    const font = `11px ${getComputedStyle(document.body).fontFamily}`;
    const axis = { stroke: ink, font, grid: { stroke: grid, width: 1 }, ticks: { show: false } };
    return {
      width: this.canvas.clientWidth || 400,
      height: HEIGHT,
      legend: { show: false },
      padding: [8, 14, 0, 0],
      cursor: { sync: { key: this.page.sync.key, setSeries: false }, drag: { x: true, y: false, setScale: false }, points: { size: 6 } },
      scales: { x: { time: true }, y: { range: (_, low, high) => this.vertical(low, high) } },
      axes: [
        { ...axis, size: 24, gap: 6, space: 70, values: (_, splits) => splits.map(clock) },
        { ...axis, size: 66, gap: 4, space: 34, incrs: unit.startsWith('bytes') ? POWERS : unit === 'count' ? WHOLE : undefined, values: (_, splits) => splits.map((value) => number(value, unit)) },
      ],
      series: [{}, ...lines.map(({ label, colour: name, limit, fill }, at) => ({
        label,
        show: !this.hidden.has(at),
        stroke: colour(name),
        width: limit ? 1 : 1.5,
        dash: limit ? [5, 4] : undefined,
        fill: fill ? colour(`${name}-wash`) : undefined,
        points: { show: false },
        auto: !limit,
      }))],
      hooks: {
        drawClear: [(plot) => this.drawEvents(plot)],
        setCursor: [(plot) => this.moved(plot)],
        setSelect: [(plot) => this.selected(plot)],
        ready: [(plot) => plot.over.addEventListener('dblclick', () => this.page.zoomTo(null))],
      },
    };
  }

  /** From zero to a little above the highest line, or to the limit where that is not far off. */
  vertical(low, high) {
    const { top, lines } = this.definition;
    if (top !== undefined) return [0, Math.max(top, high ?? 0)];
    const limits = lines.flatMap(({ limit }, at) => (limit && !this.hidden.has(at) ? [lastKnown(this.data[at + 1]) ?? 0] : []));
    const reachable = limits.filter((limit) => limit <= (high ?? 0) * LIMIT_REACH);
    return [0, Math.max((high ?? 0) * 1.08, ...reachable.map((limit) => limit * 1.04)) || 1];
  }

  drawEvents(plot) {
    const { ctx, bbox } = plot;
    const ratio = devicePixelRatio;
    ctx.save();
    for (const event of this.page.events) {
      // That something is well again is listed, not marked.
      if (event.level === 'INFO') continue;
      const x = Math.round(plot.valToPos(event.time / 1000, 'x', true));
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.fillStyle = this.page.palette.get(EVENT_COLOURS[event.level] ?? 'muted');
      ctx.globalAlpha = event.until ? 0.14 : 0.5;
      const end = event.until ? Math.min(plot.valToPos(event.until / 1000, 'x', true), bbox.left + bbox.width) : x + ratio;
      ctx.fillRect(x, bbox.top, Math.max(end - x, ratio), bbox.height);
      if (event.until) continue;
      ctx.globalAlpha = 1;
      ctx.beginPath();
      ctx.moveTo(x - 4 * ratio, bbox.top);
      ctx.lineTo(x + 5 * ratio, bbox.top);
      ctx.lineTo(x + ratio / 2, bbox.top + 6 * ratio);
      ctx.fill();
    }
    ctx.restore();
  }

  moved(plot) {
    const { idx, left } = plot.cursor;
    this.readout(left < 0 ? null : idx);
    if (this.page.charts.find(({ plot }) => plot) === this) this.page.onCursor(left < 0 || idx === null ? null : this.data[0][idx] * 1000, plot);
  }

  selected(plot) {
    const { left, width } = plot.select;
    if (width < 4) return;
    const zoom = [plot.posToVal(left, 'x') * 1000, plot.posToVal(left + width, 'x') * 1000];
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    this.page.zoomTo(zoom);
  }
}

/** Steps of an axis in bytes: powers of two and ten times those. */
const POWERS = Array.from({ length: 50 }, (_, power) => 2 ** power);
/** Steps of an axis of things. */
const WHOLE = Array.from({ length: 30 }, (_, at) => [1, 2, 5][at % 3] * 10 ** Math.floor(at / 3));

/** A time below the axis: with seconds only where they differ. */
function clock(seconds) {
  const text = new Date(seconds * 1000).toLocaleTimeString('en-GB');
  return text.endsWith(':00') ? text.slice(0, 5) : text;
}

/** The event nearest to a time, within so many ms. */
export function eventNear(events, ms, reach) {
  const near = events.filter(({ time: at, until }) => at - reach <= ms && ms <= (until ?? at) + reach);
  return near.reduce((best, event) => (best === null || Math.abs(event.time - ms) < Math.abs(best.time - ms) ? event : best), null);
}

