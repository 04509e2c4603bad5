// The frame of the page: which view is open, whether the agent is there, theme, token, keys.

import { get, listen, onTokenWanted } from './api.js';
import { openAgent } from './agent.js';
import { openContainer } from './container.js';
import { h, isComposing, plain, setAttribute, setText } from './dom.js';
import { Fleet } from './fleet.js';
import { duration, time } from './format.js';
import { openOverview } from './overview.js';
import { read, write } from './storage.js';

const THEME = 'system-monitor-theme';
const main = document.getElementById('main');
const connection = document.getElementById('connection');
const fleet = new Fleet();
let view = null;
let metrics = [];
let awaySince = null;

/* Which view: `#/`, `#/agent`, `#/container/NAME`. */

function route() {
  view?.close();
  main.replaceChildren();
  main.scrollTop = 0;
  const [, page = '', name = ''] = location.hash.split('/');
  const title = page === 'container' ? plain(decoded(name)) : page === 'agent' ? 'Agent' : 'Containers';
  document.title = `${title} · system-monitor`;
  main.className = page || 'overview';
  for (const link of document.querySelectorAll('nav [data-page]')) setAttribute(link, 'aria-current', link.dataset.page === (page || 'overview') ? 'page' : null);
  if (page === 'container') view = openContainer(main, fleet, metrics, decoded(name));
  else if (page === 'agent') view = openAgent(main, fleet);
  else view = openOverview(main, fleet);
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/* Live. */

function onEvent(type, data) {
  if (type === 'tick') {
    const isFirst = fleet.taken === null;
    fleet.tick(data);
    // Before its first report an agent does not know its host.
    if (isFirst) greet();
    view?.tick();
    showConnection();
  } else if (type === 'log') {
    view?.entry?.(data);
  } else if (type === 'missed') {
    // The agent was there meanwhile: its history fills the gap.
    view?.load?.();
  }
}

function onState(isConnected) {
  if (isConnected === (awaySince === null)) return;
  awaySince = isConnected ? null : fleet.taken === null ? Date.now() : performance.timeOrigin + fleet.received;
  if (isConnected) greet();
  showConnection();
}

/** What is asked once for each life of the agent. */
async function greet() {
  const [agent, table] = await Promise.allSettled([get('agent'), get('metrics')]);
  if (table.status === 'fulfilled' && metrics.length === 0) {
    metrics = table.value;
    if (main.className === 'container') route();
  }
  if (agent.status !== 'fulfilled') return;
  fleet.setInterval(agent.value.interval_seconds);
  setText(document.getElementById('place'), agent.value.host ? plain(agent.value.host) : agent.value.scope ? '' : 'fleet');
}

/** A tick that does not come is as bad as a connection that breaks. */
function showConnection() {
  const silence = performance.now() - fleet.received;
  const isLate = fleet.taken !== null && silence > Math.max(3 * fleet.interval, 3000);
  const since = awaySince ?? (isLate ? performance.timeOrigin + fleet.received : null);
  document.body.classList.toggle('away', since !== null);
  if (fleet.taken === null && since === null) setText(connection, 'connecting …');
  else if (since === null) setText(connection, 'live');
  else setText(connection, `${isLate && awaySince === null ? 'no readings' : 'agent away'} since ${time(since)}, ${duration(Math.max(0, (Date.now() - since) / 1000))}`);
}

/* Theme: the system's, or the other one. */

const systemIsDark = matchMedia('(prefers-color-scheme: dark)');

function isDark() {
  const theme = document.documentElement.dataset.theme;
  return theme ? theme === 'dark' : systemIsDark.matches;
}

function showTheme() {
  const button = document.getElementById('theme');
  setText(button, isDark() ? '☀' : '☾');
  const label = isDark() ? 'Light colours' : 'Dark colours';
  setAttribute(button, 'aria-label', label);
  setAttribute(button, 'title', label);
  view?.restyle?.();
}

function switchTheme() {
  document.documentElement.dataset.theme = isDark() ? 'light' : 'dark';
  write('localStorage', THEME, document.documentElement.dataset.theme);
  showTheme();
}

/* Dialogs. */

function tokenDialog(wasRefused) {
  return new Promise((resolve) => {
    const field = h('input', { type: 'password', id: 'token', autocomplete: 'current-password', required: true });
    const form = h('form', { method: 'dialog', onsubmit: (event) => {
      event.preventDefault();
      dialog.close();
      dialog.remove();
      resolve(field.value.trim());
    } },
    h('label', { for: 'token' }, 'Token'), field,
    h('p', { class: 'note' }, wasRefused ? 'The agent does not know this token.' : 'The agent asks for the token that its token file holds. This browser forgets it with the tab.'),
    h('button', { type: 'submit' }, 'Continue'));
    const dialog = h('dialog', { 'aria-labelledby': 'token-title', oncancel: (event) => event.preventDefault() }, h('h2', { id: 'token-title' }, 'Who asks?'), form);
    document.body.append(dialog);
    dialog.showModal();
  });
}

const KEYS = [['/', 'filter'], ['↑ ↓ Home End', 'from container to container'], ['Enter', "open a container's page"], ['Esc', 'back to all containers'], ['t', 'light or dark'], ['a', 'the agent'], ['?', 'this help']];

function showHelp() {
  const dialog = h('dialog', { 'aria-labelledby': 'keys-title', onclose: () => dialog.remove() }, h('h2', { id: 'keys-title' }, 'Keys'),
    h('dl', { class: 'identity' }, KEYS.flatMap(([key, what]) => [h('dt', {}, h('kbd', {}, key)), h('dd', {}, what)])),
    h('p', { class: 'note' }, 'In a chart: drag to zoom, double click to go back.'),
    h('form', { method: 'dialog' }, h('button', { type: 'submit' }, 'Close')));
  document.body.append(dialog);
  dialog.showModal();
}

function onKey(event) {
  if (isComposing(event) || event.altKey || event.ctrlKey || event.metaKey || document.querySelector('dialog[open]')) return;
  if (event.key === 'Escape' && main.className !== 'overview' && !event.defaultPrevented) location.hash = '#/';
  if (event.target.closest('input, select, textarea')) return;
  if (event.key === '?') showHelp();
  else if (event.key === 't') switchTheme();
  else if (event.key === 'a') location.hash = '#/agent';
  else if (event.target.closest('tbody') || !view?.key?.(event)) return;
  event.preventDefault();
}

const kept = read('localStorage', THEME);
if (kept === 'dark' || kept === 'light') document.documentElement.dataset.theme = kept;
systemIsDark.addEventListener('change', showTheme);
document.getElementById('theme').addEventListener('click', switchTheme);
document.getElementById('help').addEventListener('click', showHelp);
document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});
document.addEventListener('keydown', onKey);
addEventListener('hashchange', () => {
  route();
  main.focus({ preventScroll: true });
});
onTokenWanted(tokenDialog);
showTheme();
route();
setInterval(showConnection, 1000);
greet();
listen(onEvent, onState);
