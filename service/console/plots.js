// Plots, as drawings that take their colours from the page and their width from the screen. Across, everything is placed
// in per cent, so that text keeps its size on a phone; down, in pixels. Each says in words what it shows.

import {el, svg} from "./element.js";
import {count, niceTicks} from "./figures.js";

const MARGIN = 3; // per cent left free on both sides, so that no dot is cut
const ROW = 48;
const LABEL = 16;
const TRACK = 33;
const BARS = 150;
const AXIS = 26;

/** Bars over numbers: {edges, counts}. `text` is how a number below reads. */
export function histogram({edges, counts}, describe, text) {
  const most = Math.max(...counts, 1);
  const width = 100 / counts.length;
  const bars = counts.map((rows, n) => {
    const height = rows ? Math.max(1.5, (rows / most) * (BARS - 14)) : 0;
    return svg("rect", {x: `${(n * width).toFixed(3)}%`, width: `${Math.max(width - 0.35, 0.3).toFixed(3)}%`, y: (BARS - height).toFixed(1), height: height.toFixed(1), rx: 1.5, class: "bar-of"},
      svg("title", {}, `${text(edges[n])} to ${text(edges[n + 1])}: ${count(rows)}`));
  });
  const places = [[0, "start"], [counts.length / 2, "middle"], [counts.length, "end"]];
  const labels = places.map(([n, anchor]) => label(`${n * width}%`, BARS + 18, text(at(edges, n)), "quiet", anchor));
  return figure(BARS + AXIS, describe,
    svg("line", {x1: 0, x2: "100%", y1: BARS, y2: BARS, class: "axis"}), bars, labels,
    label("0", 10, `most in a bar: ${count(most)}`, "quiet", "start"));
}

const at = (edges, n) => (Number.isInteger(n) ? edges[n] : (edges[Math.floor(n)] + edges[Math.ceil(n)]) / 2);

/** Amounts of named things, each a bar beside its number: [[name, amount, note], …], the longest first. */
export function amounts(items, label, {most = 12} = {}) {
  const top = Math.max(...items.map(([, amount]) => amount), 1);
  const row = ([name, amount, note]) => el("div", {},
    el("dt", {}, el("bdi", {}, name)), el("dd", {}, note ?? count(amount)),
    el("span", {class: "meter", "aria-hidden": "true"}, el("i", {style: {width: `${(100 * amount / top).toFixed(1)}%`}})));
  const rest = items.slice(most);
  const others = rest.reduce((sum, [, amount]) => sum + amount, 0);
  return el("dl", {class: "amounts", "aria-label": label}, items.slice(0, most).map(row),
    rest.length ? row([`${count(rest.length)} others`, others]) : null);
}

/** One row a dot on one scale: {label, value, interval, seeds, role, note}. `text` is how a value reads. */
export function dotPlot(dots, describe, text, {reference = null} = {}) {
  const values = dots.flatMap(({value, interval, seeds}) => [value, ...(interval ?? []), ...(seeds ?? [])]);
  const ticks = niceTicks(Math.min(...values), Math.max(...values));
  const across = (value) => `${(MARGIN + (100 - 2 * MARGIN) * (value - ticks[0]) / (ticks.at(-1) - ticks[0])).toFixed(3)}%`;
  const height = dots.length * ROW;
  const upright = (x, kind) => svg("line", {x1: x, x2: x, y1: 0, y2: height, class: kind});
  return figure(height + AXIS, describe,
    ticks.map((tick) => upright(across(tick), "grid")),
    reference === null ? null : upright(across(reference), "reference"),
    ticks.map((tick) => label(across(tick), height + 18, text(tick, ticks), "quiet", "middle")),
    dots.map((dot, n) => dotRow(dot, n * ROW, across)));
}

function dotRow({label: name, value, interval, seeds = [], role = "arm", note}, top, across) {
  const y = top + TRACK;
  return [
    svg("line", {x1: 0, x2: "100%", y1: y, y2: y, class: "axis"}),
    label("0", top + LABEL, name, role === "best" ? "strong" : "", "start"),
    label("100%", top + LABEL, note, "", "end"),
    interval ? svg("line", {x1: across(interval[0]), x2: across(interval[1]), y1: y, y2: y, class: `${role} interval`}) : null,
    seeds.map((seed) => svg("circle", {cx: across(seed), cy: y, r: 3, class: "seed"})),
    svg("circle", {cx: across(value), cy: y, r: 6.5, class: `${role} dot`}),
  ];
}

/** A loss over updates, from zero up. */
export function curve(points, describe) {
  const shown = points.filter(({loss}) => Number.isFinite(loss));
  if (!shown.length) return el("p", {class: "quiet"}, "No updates were made.");
  const [height, top] = [180, 16];
  const last = shown.at(-1);
  const ticks = niceTicks(Math.min(0, ...shown.map(({loss}) => loss)), Math.max(...shown.map(({loss}) => loss)));
  const span = ticks.at(-1) - ticks[0];
  const down = (loss) => top + (height - top) * (1 - (loss - ticks[0]) / span);
  const path = shown.map(({update, loss}) => `${(update / last.update).toFixed(5)},${(1 - (loss - ticks[0]) / span).toFixed(5)}`).join(" ");
  return figure(height + AXIS, describe,
    ticks.map((tick) => svg("line", {x1: 0, x2: "100%", y1: down(tick), y2: down(tick), class: "grid"})),
    svg("svg", {y: top, width: "100%", height: height - top, viewBox: "0 0 1 1", preserveAspectRatio: "none", overflow: "visible"},
      svg("polyline", {points: path, class: "curve", "vector-effect": "non-scaling-stroke"})),
    svg("circle", {cx: "100%", cy: down(last.loss), r: 4.5, class: "dot"}),
    ticks.slice(1).map((tick) => label("0", down(tick) - 4, String(tick), "quiet", "start")),
    label("0", height + 18, "update 0", "quiet", "start"),
    label("100%", height + 18, count(last.update), "quiet", "end"),
    label("100%", down(last.loss) - 10, last.loss.toPrecision(3), "strong", "end"));
}

function label(x, y, text, kind, anchor) {
  return svg("text", {x, y, "text-anchor": anchor, class: kind || null}, text);
}

function figure(height, describe, ...content) {
  return el("figure", {}, svg("svg", {height, role: "img", "aria-label": describe}, content));
}
