// Figures: numbers and times as people read them, as the pages of `transferset distill` write them.

const WHOLE = new Intl.NumberFormat("en", {maximumFractionDigits: 0});
const CLOCK = new Intl.DateTimeFormat("en-GB", {hour: "2-digit", minute: "2-digit", second: "2-digit"});
const DAY = new Intl.DateTimeFormat("en-GB", {day: "numeric", month: "short", year: "numeric"});
const MISSING = "–";

export const count = (number) => (number === null || number === undefined ? MISSING : WHOLE.format(number));
export const percent = (share, digits = 1) => (isNumber(share) ? `${(100 * share).toFixed(digits)}\u00a0%` : MISSING);
export const decimal = (number, digits = 3) => (isNumber(number) ? signed(number.toFixed(digits)) : MISSING);
export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/** A difference of two shares in percentage points: 0.098 -> +9.8. */
export function points(difference) {
  const rounded = (100 * difference).toFixed(1);
  return Number(rounded) > 0 ? `+${rounded}` : Number(rounded) < 0 ? signed(rounded) : "0.0";
}

/** A score of whatever size in about four digits: 12.4, 0.0325. */
export function score(number) {
  if (!isNumber(number)) return MISSING;
  const size = Math.abs(number);
  if (size >= 1e5 || (size > 0 && size < 1e-4)) return signed(number.toExponential(1));
  return signed(number.toFixed(size >= 10 ? 1 : size >= 1 ? 2 : 4));
}

/** 22713216 -> 22.7 M. */
export function size(number) {
  for (const [unit, letter] of [[1e9, "B"], [1e6, "M"], [1e3, "k"]]) {
    if (number >= unit) return `${Number((number / unit).toPrecision(3))}\u00a0${letter}`;
  }
  return count(number);
}

/** Bytes, in powers of ten. */
export const bytes = (number) => (number < 1000 ? plural(number, "byte") : `${size(number)}B`);

export const milliseconds = (value) => (isNumber(value) ? `${Number(value.toPrecision(3))}\u00a0ms` : MISSING);

/** 75.2 -> 1 min 15 s. */
export function duration(seconds) {
  if (!isNumber(seconds)) return MISSING;
  const whole = Math.round(seconds);
  if (whole < 60) return `${Number.isInteger(seconds) ? whole : seconds.toFixed(1)}\u00a0s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes}\u00a0min ${whole % 60}\u00a0s`;
  return `${Math.floor(minutes / 60)}\u00a0h ${minutes % 60}\u00a0min`;
}

/** A time of today by the clock, another with its day. */
export function moment(unixSeconds, now = new Date()) {
  const time = new Date(1000 * unixSeconds);
  const isToday = time.toDateString() === now.toDateString();
  return isToday ? CLOCK.format(time) : `${DAY.format(time)}, ${CLOCK.format(time)}`;
}

/** ["a", "b", "c"] -> a, b and c. */
export function listed(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}

/** About five round numbers, evenly spaced, that enclose both ends. */
export function niceTicks(low, high) {
  if (high - low <= 1e-9 * Math.max(Math.abs(low), Math.abs(high), 1e-3)) {
    const margin = Math.abs(high) > 1e-9 ? Math.abs(high) / 10 : 0.1;
    [low, high] = [low - margin, high + margin];
  }
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((each) => each >= rough * (1 - 1e-9));
  const first = Math.floor(low / step + 1e-9);
  const last = Math.ceil(high / step - 1e-9);
  return Array.from({length: last - first + 1}, (_, n) => Number(((first + n) * step).toPrecision(12)));
}

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const signed = (text) => text.replace("-", "\u2212");
