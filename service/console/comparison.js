// The comparison of runs: which may stand beside each other, their arms over seeds, and what may be said of them. Pure.
//
// What is said is careful: seeds and test rows both move a score, and a difference that is no larger than what they
// move is not called one. `transferset compare` pairs the test rows, and can tell more.

import {count, decimal, listed, percent, points} from "./figures.js";

// As distill names them; the first that a run has decides. An error is better when it is lower.
export const METRICS = {
  accuracy: {title: "Accuracy"}, macro_f1: {title: "Macro F1"}, weighted_f1: {title: "Weighted F1"},
  matthews: {title: "Matthews", isShare: false}, ece: {title: "Calibration error", isError: true},
  spearman: {title: "Spearman", isShare: false}, pearson: {title: "Pearson", isShare: false},
  span_f1: {title: "Span F1"}, exact_match: {title: "Exact match"}, sem_er: {title: "SemER", isError: true},
  ir_er: {title: "IRER", isError: true}, oos_auroc: {title: "Out-of-scope AUROC"},
  oos_auroc_entropy: {title: "Out-of-scope AUROC, entropy"}, agreement: {title: "Agreement with the teacher"},
};

/** A metric by its name; one that a newer distill measures is shown by its name. */
export function metricOf(name) {
  const {title = name.replaceAll("_", " "), isError = false, isShare = true} = METRICS[name] ?? {};
  return {name, title, isError, isShare, text: isShare ? percent : decimal};
}

/** Whether it has what a comparison asks of a report. */
export function isReport(report) {
  return Boolean(report?.task && report.student && report.teacher?.metrics && report.updates && report.metrics?.finetuned
    && Object.keys(report.metrics.finetuned).length && typeof report.arm === "string");
}

export const metricsOf = (report) => Object.keys(report.metrics.finetuned);

/** What runs must share for a number of one to say something against a number of another, in words. */
export function comparableAs({task, student}) {
  const shots = task.shots ? `${task.shots} a class` : "all rows";
  return `${task.name} (${task.target}, ${shots}, ${count(task.test_rows)} test rows) · student ${student.layers} × ${student.width}, ${student.from}`;
}

const keyOf = (report) => JSON.stringify([comparableAs(report), report.task.id, report.task.test_split, report.task.kind ?? null]);

/** Runs in groups that may be compared, the largest first: [{label, runs}]. */
export function groupsOf(runs) {
  const groups = new Map();
  for (const run of runs) {
    const key = keyOf(run.report);
    if (!groups.has(key)) groups.set(key, {label: comparableAs(run.report), runs: []});
    groups.get(key).runs.push(run);
  }
  return [...groups.values()].sort((a, b) => b.runs.length - a.runs.length);
}

/** The arms of comparable runs, the best first: their mean, the spread over seeds (null for one), the mean interval. */
export function armsOf(runs, metric) {
  const byName = new Map();
  for (const {report} of runs) byName.set(report.arm, [...(byName.get(report.arm) ?? []), report]);
  const arms = [...byName].map(([name, reports]) => armOf(name, reports, metric)).filter(({values}) => values.length);
  return arms.sort((a, b) => (metric.isError ? a.mean - b.mean : b.mean - a.mean) || a.name.localeCompare(b.name));
}

function armOf(name, reports, metric) {
  const measured = reports.filter((report) => Number.isFinite(report.metrics.finetuned[metric.name]));
  const values = measured.map((report) => report.metrics.finetuned[metric.name]);
  const intervals = measured.map((report) => report.metrics.intervals?.[metric.name]).filter(Boolean);
  return {
    name, values, mean: meanOf(values), spread: spreadOf(values),
    interval: intervals.length === values.length && intervals.length ? [0, 1].map((end) => meanOf(intervals.map((each) => each[end]))) : null,
    seeds: reports.map((report) => report.seed).sort((a, b) => a - b),
    texts: reports[0].transfer_set?.texts ?? null,
    updates: reports.map(({updates}) => updates.distill + updates.finetune),
    teachers: reports.map((report) => report.teacher.id),
  };
}

export const meanOf = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** The standard deviation over seeds; of one seed nothing is known. */
export function spreadOf(values) {
  if (values.length < 2) return null;
  const mean = meanOf(values);
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1));
}

/** Why the scores of two arms do not tell them apart, in a word; null when they do. */
export function notToldApart(one, other) {
  const gap = Math.abs(one.mean - other.mean);
  if (gap === 0) return "equal";
  if (one.spread !== null && other.spread !== null && gap <= one.spread + other.spread) return "seeds";
  if (one.interval && other.interval && one.interval[0] <= other.interval[1] && other.interval[0] <= one.interval[1]) return "rows";
  if (one.spread === null || other.spread === null) return "one seed";
  return null;
}

const BECAUSE = {
  equal: ["scores the same", "score the same"],
  seeds: ["is no further away than the seeds spread", "are no further away than the seeds spread"],
  rows: ["has an interval over the test rows that overlaps its own", "have intervals over the test rows that overlap its own"],
  "one seed": ["has, or is compared with, one seed only, which may be luck", "have, or are compared with, one seed only, which may be luck"],
};

/** What may be said of the arms, in a sentence. */
export function verdict(arms, metric) {
  const [best, ...others] = arms;
  if (!best) return "Tick some runs to compare them.";
  const reached = scoreText(best, metric);
  if (!others.length) return `There is one arm only, ${best.name}, at ${reached}: nothing to compare it with.`;
  const doubts = others.map((arm) => ({arm, why: notToldApart(best, arm)})).filter(({why}) => why);
  const place = metric.isError ? "lowest" : "highest";
  if (!doubts.length) {
    const gap = `${points(Math.abs(best.mean - others[0].mean)).replace("+", "")} ${metric.isShare ? "points" : "hundredths"}`;
    return `${best.name} is best: ${reached}, ${gap} ${metric.isError ? "below" : "above"} ${others[0].name}, more than the seeds spread, with intervals over the test rows that do not touch.`;
  }
  const reasons = Object.keys(BECAUSE).map((why) => doubts.filter((doubt) => doubt.why === why)).filter((same) => same.length);
  const told = reasons.map((same) => `${listed(same.map(({arm}) => arm.name))} ${BECAUSE[same[0].why][same.length === 1 ? 0 : 1]}`);
  return `No winner: ${best.name} scores ${place}, ${reached}, but ${told.join("; ")}.`;
}

/** 66.2 % ± 0.8 (3 seeds). */
export function scoreText(arm, metric) {
  if (arm.spread === null) return metric.text(arm.mean);
  const spread = metric.isShare ? (100 * arm.spread).toFixed(1) : arm.spread.toFixed(3);
  return `${metric.text(arm.mean)} ± ${spread}`;
}

/** What to know before believing it. */
export function notes(arms) {
  const said = [];
  const sizes = arms.filter((arm) => arm.texts !== null);
  if (new Set(sizes.map((arm) => arm.texts)).size > 1) said.push(`Arms differ in size: ${listed(sizes.map((arm) => `${arm.name} ${count(arm.texts)} texts`))}.`);
  const seeds = arms.map((arm) => arm.seeds.join(", "));
  if (new Set(seeds).size > 1) said.push(`Seeds differ: ${arms.map((arm, n) => `${arm.name} ${seeds[n]}`).join("; ")}.`);
  if (new Set(arms.flatMap((arm) => arm.updates)).size > 1) said.push("The runs did not train for equally many updates.");
  if (new Set(arms.flatMap((arm) => arm.teachers)).size > 1) said.push("The runs had different teachers.");
  const doubled = arms.filter((arm) => new Set(arm.seeds).size < arm.seeds.length).map((arm) => arm.name);
  if (doubled.length) said.push(`${listed(doubled)}: several runs of one seed, so that ± is not over seeds alone.`);
  return said;
}
