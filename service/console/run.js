// A run: how good its student is beside its teacher, where it comes from, how it learnt, and its model.

import {get, key, save} from "./api.js";
import {metricOf, metricsOf} from "./comparison.js";
import {el, fill} from "./element.js";
import {count, duration, milliseconds, percent, points, size} from "./figures.js";
import {facts, heading, section, showProblem, table, tiles} from "./parts.js";
import {curve} from "./plots.js";

export async function runPage({name, signal}) {
  const path = `v1/runs/${encodeURIComponent(name)}`;
  const report = await get(`${path}/report`, signal);
  const metric = metricOf(metricsOf(report)[0]);
  return [
    heading(`run · arm ${report.arm} · seed ${report.seed}`, name, sentence(report, metric)),
    overview(report, metric),
    model(path, name),
    metrics(report),
    losses(report),
    origin(report),
  ];
}

function sentence(report, metric) {
  const {teacher, student, transfer_set: set} = report;
  const how = set ? ["distilled on ", el("a", {href: `#/sets/of/${encodeURIComponent(set.name)}`}, set.name)] : "trained without distillation";
  const kept = keptOf(report, metric);
  return ["A student of ", size(student.parameters), " parameters, ", how,
    kept === null ? "." : [", keeps ", el("b", {}, percent(kept)), ` of its teacher’s ${metric.title.toLowerCase()} on ${report.task.name}`, ratio(teacher.parameters / student.parameters, "smaller"), "."]];
}

const ratio = (times, word) => (times > 1 ? ` and is ${times < 9.95 ? times.toFixed(1) : count(times)}× ${word}` : "");

function keptOf(report, metric) {
  const teacher = report.teacher.metrics[metric.name];
  return teacher && !metric.isError ? report.metrics.finetuned[metric.name] / teacher : null;
}

function overview(report, metric) {
  const [own, teacher] = [report.metrics.finetuned[metric.name], report.teacher.metrics[metric.name]];
  return tiles("The run in four numbers", [
    [`Student ${metric.title.toLowerCase()}`, metric.text(own), `teacher ${metric.text(teacher)}`],
    ["Of the teacher kept", percent(keptOf(report, metric)), metric.isShare && Number.isFinite(teacher) ? `${points(own - teacher)} points` : ""],
    ["Parameters", size(report.student.parameters), `teacher ${size(report.teacher.parameters)}`],
    ["Time an utterance", milliseconds(report.ms_per_utterance), `teacher ${milliseconds(report.teacher.ms_per_utterance)}`],
  ]);
}

function model(path, name) {
  const fault = el("div");
  const button = el("button", {type: "button", onclick: async () => {
    fill(fault);
    button.disabled = true;
    await save(`${path}/model`, `${name}.zip`).catch((error) => fill(fault, showProblem(error)));
    button.disabled = false;
  }}, "Download the model");
  const page = key.get() ? null : el("a", {class: "button plain", href: `${path}/page`}, "The report as a page"); // a link carries no key
  return section("Model", el("div", {class: "actions"}, button, page), fault,
    el("p", {class: "quiet"}, "A zip of a Hugging Face folder: ", el("code", {}, "AutoModelForSequenceClassification.from_pretrained"), " opens what is in it."));
}

function metrics(report) {
  const {finetuned, distilled, intervals, teacher_intervals: ofTeacher} = report.metrics;
  const rows = metricsOf(report).map((name) => {
    const metric = metricOf(name);
    const cell = (value, interval) => [metric.text(value), interval ? el("small", {}, `${metric.text(interval[0])} to ${metric.text(interval[1])}`) : null];
    return [metric.title, distilled ? cell(distilled[name]) : "–", cell(finetuned[name], intervals?.[name]), cell(report.teacher.metrics[name], ofTeacher?.[name])];
  });
  return section("Scores", table("Scores on the test rows", ["Metric", "Distilled", "Finetuned", "Teacher"], rows),
    el("p", {class: "quiet"}, `On ${count(report.task.test_rows)} rows of split ${report.task.test_split}.${intervals ? " Below each the 95 % interval over the test rows." : ""}`));
}

function losses({curves, updates}) {
  const phases = [["Distilling", curves.distill, updates.distill], ["Finetuning", curves.finetune, updates.finetune]].filter(([, points]) => points.length);
  if (!phases.length) return null;
  return section("Loss", el("div", {class: "pair"}, phases.map(([name, points, number]) => el("div", {},
    el("h3", {}, `${name}, ${count(number)} updates`),
    curve(points, `Loss while ${name.toLowerCase()}: from ${points[0].loss.toPrecision(3)} to ${points.at(-1).loss.toPrecision(3)} in ${count(number)} updates`)))));
}

function origin(report) {
  const {task, transfer_set: set, teacher, student, seconds} = report;
  return section("Where it comes from",
    facts([
      ["task", `${task.name}, ${task.shots ? `${task.shots} a class, ` : ""}${count(task.train_rows)} rows to train`],
      ["transfer set", set ? el("a", {href: `#/sets/of/${encodeURIComponent(set.name)}`}, set.name) : "none"],
      ["texts", set ? `${count(set.texts)}, generic share ${percent(set.generic_share)}` : "–"],
      ["teacher", teacher.model],
      ["student", `${student.layers} × ${student.width}, ${student.from === "scratch" ? "from scratch" : `the teacher’s layers (${student.from})`}`],
      ["seed", count(report.seed)],
      ["time to distil", duration(seconds.distill)],
      ["time to finetune", duration(seconds.finetune)],
    ]),
    el("details", {}, el("summary", {}, "Every setting"), el("pre", {tabindex: 0, "aria-label": "Every setting as JSON"}, JSON.stringify(report.settings, null, 2))));
}
