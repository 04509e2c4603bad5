// Numbers as people read them. What was not measured is a dash, never a zero.

export const ABSENT = '–';

const BYTES = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** Three digits that say something. */
function digits(value) {
  const size = Math.abs(value);
  return value.toFixed(size >= 99.95 || size === 0 ? 0 : size >= 9.995 ? 1 : 2);
}

export function count(value) {
  return Math.round(value).toLocaleString('en');
}

export function bytes(value) {
  let unit = 0;
  while (Math.abs(value) >= 1023.5 && unit < BYTES.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? Math.round(value) : digits(value)} ${BYTES[unit]}`;
}

export function percent(value) {
  return `${value >= 9.95 || value === 0 ? Math.round(value) : value.toFixed(1)} %`;
}

/** A time span in its two largest units: `3 d 4 h`. */
export function duration(seconds) {
  const parts = [['d', 86_400], ['h', 3600], ['min', 60], ['s', 1]];
  const first = parts.findIndex(([, size]) => seconds >= size);
  if (first < 0) return '0 s';
  const [unit, size] = parts[first];
  const whole = `${Math.floor(seconds / size)} ${unit}`;
  const next = parts[first + 1];
  const rest = next ? Math.floor((seconds % size) / next[1]) : 0;
  return rest > 0 && unit !== 'min' ? `${whole} ${rest} ${next[0]}` : whole;
}

/** The same in its largest unit alone, for a column. */
export function age(seconds) {
  const [unit, size] = [['d', 86_400], ['h', 3600], ['min', 60], ['s', 1]].find(([, size]) => seconds >= size) ?? ['s', 1];
  return `${Math.floor(seconds / size)} ${unit}`;
}

/** The time of day, with the date where it is another day's. */
export function time(ms) {
  const date = new Date(ms);
  const clock = date.toLocaleTimeString('en-GB');
  return date.toDateString() === new Date().toDateString() ? clock : `${date.toLocaleDateString('en-CA')} ${clock}`;
}

const BY_UNIT = {
  count,
  bytes,
  percent,
  seconds: duration,
  cores: (value) => digits(value),
  load: (value) => value.toFixed(2),
  'per second': (value) => `${digits(value)}/s`,
  'bytes per second': (value) => `${bytes(value)}/s`,
};

/** A number in the words of its unit. */
export function number(value, unit) {
  return value === null || value === undefined ? ABSENT : (BY_UNIT[unit] ?? count)(value);
}
