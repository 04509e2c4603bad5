// Elements without markup: text only ever enters the page as text, so a name cannot become anything else.

import { groupBy } from './lists.js';

const SVG = 'http://www.w3.org/2000/svg';

/** Makes an element: attributes by name, `on…` functions as listeners, the rest as children; absent children are left out. */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for a drawing. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Changes a text only where it is another one: most numbers stay from tick to tick. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Sets an attribute, or takes it away where the value is `null`, only where that changes something. */
export function setAttribute(element, name, value) {
  if (element.getAttribute(name) === value) return;
  if (value === null) element.removeAttribute(name);
  else element.setAttribute(name, value);
}

/** Shows these children, and keeps those that are equal: with one that is replaced, what is selected in it would be lost. */
export function setChildren(parent, children) {
  const there = groupBy(parent.children, (child) => child.outerHTML);
  const wanted = children.map((child) => there.get(child.outerHTML)?.shift() ?? child);
  const kept = new Set(wanted);
  for (const child of [...parent.children]) if (!kept.has(child)) child.remove();
  let next = parent.firstChild;
  for (const child of wanted) {
    if (child === next) next = next.nextSibling;
    else parent.insertBefore(child, next);
  }
}

/** True for a key that belongs to an input method: Enter takes its word. Safari tells it by the code alone. */
export function isComposing(event) {
  return event.isComposing || event.keyCode === 229;
}

/** Container names may hold control characters, and directions of writing that would turn the line around: shown as what they are. */
export function plain(name) {
  return name.replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g, (character) => {
    const code = character.codePointAt(0);
    return code < 0x20 ? String.fromCodePoint(0x2400 + code) : '\ufffd';
  });
}
