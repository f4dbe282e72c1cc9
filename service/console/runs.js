// Runs: a table to sort and to tick, and below it the ticked ones side by side, grouped by arm.

import {Problem, each, get, isAbort, save} from "./api.js";
import {armsOf, groupsOf, isReport, meanOf, metricOf, metricsOf, notToldApart, notes, scoreText, verdict} from "./comparison.js";
import {announce, el, fill, newId} from "./element.js";
import {count, milliseconds, percent, plural, size} from "./figures.js";
import {dotPlot} from "./plots.js";
import {emptyState, heading, scrolling, section, showProblem, table} from "./parts.js";

const PAGE = 50;
const NAMED = 40; // runs in the command to copy

export async function runsPage({signal}) {
  const head = heading(null, "Runs", "Students that were distilled, each measured on its task’s test rows.");
  const order = el("div", {class: "actions"}, el("a", {class: "button", href: "#/runs/new"}, "Order a run"));
  const view = new Runs(signal);
  try {
    await view.load();
  } catch (error) {
    if (error instanceof Problem && error.status === 404) return [head, noRoute()];
    throw error;
  }
  return [head, order, view.isEmpty ? noRuns() : view.node];
}

function noRuns() {
  return emptyState("No runs yet", "Order one with the button above, once there is a transfer set. Or distil on the command line:",
    "transferset distill RUN.toml --name first");
}

function noRoute() {
  return emptyState("This service has no runs", "It was started without them. Runs made on the command line are compared there:", "transferset compare RUN RUN --html comparison.html");
}

class Runs {
  constructor(signal) {
    this.signal = signal;
    this.runs = []; // {info, report}
    this.faults = [];
    this.ticked = new Set();
    this.sorted = {column: "score", isUp: false};
    this.group = null;
    this.next = null;
    this.choosing = el("div", {class: "row choosing"});
    this.body = el("div");
    this.fault = el("div");
    this.more = el("p", {class: "more"});
    this.compared = el("div", {class: "compared"});
    this.node = el("div", {}, this.choosing, this.body, this.fault, this.more, this.compared);
  }

  get isEmpty() {
    return !this.runs.length && !this.faults.length;
  }

  /** The next page of runs, with their reports. */
  async load() {
    const token = this.next ? `&page_token=${encodeURIComponent(this.next)}` : "";
    const page = await get(`v1/runs?limit=${PAGE}${token}`, this.signal);
    const whole = page.items.filter((info) => info.fault === null);
    const reports = await each(whole, (info) => get(`v1/runs/${encodeURIComponent(info.name)}/report`, this.signal));
    reports.filter(isAbort).forEach((error) => {
      throw error;
    });
    page.items.filter((info) => info.fault !== null).forEach((info) => this.faults.push([info.name, info.fault]));
    reports.forEach((report, n) => this.take(whole[n].name, report));
    this.next = page.next_page_token;
    this.choose(this.group?.label ?? null);
  }

  /** A run with its report; one whose report cannot be read shall not hide the others. */
  take(name, report) {
    if (report instanceof Error) this.faults.push([name, report.message]);
    else if (isReport(report)) this.runs.push({name, report});
    else this.faults.push([name, "its report is not one that this console reads; run the distillation again"]);
  }

  /** Show the runs of a group, all ticked: they are there to be compared. */
  choose(label) {
    const groups = groupsOf(this.runs);
    this.group = groups.find((group) => group.label === label) ?? groups[0] ?? {label: "", runs: []};
    const names = this.group.runs[0] ? metricsOf(this.group.runs[0].report) : ["accuracy"];
    this.metric = metricOf(names.includes(this.metric?.name) ? this.metric.name : names[0]);
    this.sorted = {column: "score", isUp: this.metric.isError};
    this.ticked = new Set(this.group.runs.map((run) => run.name));
    fill(this.choosing,
      select("Comparable runs", groups.map((group) => [group.label, `${group.label} — ${plural(group.runs.length, "run")}`]), this.group.label, (value) => this.choose(value)),
      select("Metric", names.map((name) => [name, metricOf(name).title]), this.metric.name, (value) => {
        this.metric = metricOf(value);
        this.sorted = {column: "score", isUp: this.metric.isError};
        this.showTable();
        this.compare();
      }));
    fill(this.more, this.next === null ? null : el("button", {type: "button", class: "plain", onclick: (event) => this.loadMore(event.target)}, "Load more runs"),
      this.faults.length ? el("details", {}, el("summary", {}, `${plural(this.faults.length, "run")} cannot be shown`), el("ul", {class: "notes"}, this.faults.map(([name, fault]) => el("li", {}, `${name}: ${fault}`)))) : null);
    this.showTable();
    this.compare();
  }

  async loadMore(button) {
    button.disabled = true;
    await this.load().catch((error) => isAbort(error) || fill(this.more, showProblem(error)));
  }

  showTable() {
    const columns = this.columns();
    const {column, isUp} = this.sorted;
    const by = columns.find(({id}) => id === column);
    const rows = [...this.group.runs].sort((a, b) => (isUp ? 1 : -1) * compare(by.value(a), by.value(b)) || compare(a.name, b.name));
    fill(this.body, scrolling("Runs", el("table", {class: "runs"},
      el("caption", {}, "Runs, to sort and to tick"),
      el("thead", {}, el("tr", {}, el("th", {scope: "col"}, this.tickAll()), columns.map((each) => this.head(each)), el("th", {scope: "col"}, "Model"))),
      el("tbody", {}, rows.map((run) => this.row(run, columns))))));
  }

  columns() {
    const {metric} = this;
    const of = (run) => run.report.metrics.finetuned[metric.name];
    return [
      {id: "name", title: "Run", value: (run) => run.name, show: (run) => el("a", {href: `#/runs/of/${encodeURIComponent(run.name)}`}, run.name)},
      {id: "score", title: metric.title, value: of, show: (run) => withInterval(metric, of(run), run.report.metrics.intervals?.[metric.name])},
      {id: "kept", title: "Of the teacher", value: (run) => keptOf(run, metric), show: (run) => percent(keptOf(run, metric))},
      {id: "arm", title: "Arm", value: (run) => run.report.arm},
      {id: "seed", title: "Seed", value: (run) => run.report.seed},
      {id: "texts", title: "Texts", value: (run) => run.report.transfer_set?.texts ?? 0, show: (run) => count(run.report.transfer_set?.texts)},
      {id: "size", title: "Parameters", value: (run) => run.report.student.parameters, show: (run) => size(run.report.student.parameters)},
      {id: "time", title: "An utterance", value: (run) => run.report.ms_per_utterance, show: (run) => milliseconds(run.report.ms_per_utterance)},
    ];
  }

  head({id, title}) {
    const {column, isUp} = this.sorted;
    const isSorted = column === id;
    const sort = () => {
      this.sorted = {column: id, isUp: isSorted ? !isUp : id === "name" || id === "arm" || id === "seed"};
      this.showTable();
      this.body.querySelector(`[data-column="${id}"]`).focus();
    };
    return el("th", {scope: "col", "aria-sort": isSorted ? (isUp ? "ascending" : "descending") : "none"},
      el("button", {type: "button", class: "sort", "data-column": id, onclick: sort}, title, el("span", {"aria-hidden": "true"}, isSorted ? (isUp ? " ↑" : " ↓") : "")));
  }

  row(run, columns) {
    const tick = el("input", {type: "checkbox", checked: this.ticked.has(run.name), "aria-label": `Compare ${run.name}`, onchange: () => {
      if (tick.checked) this.ticked.add(run.name);
      else this.ticked.delete(run.name);
      this.compare();
    }});
    return el("tr", {}, el("td", {}, tick),
      columns.map(({id, value, show}) => el(id === "name" ? "th" : "td", id === "name" ? {scope: "row"} : {}, show ? show(run) : value(run))),
      el("td", {}, el("button", {type: "button", class: "link", onclick: (event) => this.download(run, event.target)}, "Download", el("span", {class: "unseen"}, ` the model of ${run.name}`))));
  }

  async download(run, button) {
    button.disabled = true;
    await save(`v1/runs/${encodeURIComponent(run.name)}/model`, `${run.name}.zip`).catch((error) => fill(this.fault, showProblem(error)));
    button.disabled = false;
  }

  tickAll() {
    const all = el("input", {type: "checkbox", "aria-label": "Compare all of these", checked: this.ticked.size === this.group.runs.length, onchange: () => {
      this.ticked = new Set(all.checked ? this.group.runs.map((run) => run.name) : []);
      this.showTable();
      this.compare();
      this.body.querySelector("thead input").focus();
    }});
    return all;
  }

  /** The ticked runs, side by side. */
  compare() {
    const runs = this.group.runs.filter((run) => this.ticked.has(run.name));
    const arms = armsOf(runs, this.metric);
    const said = verdict(arms, this.metric);
    fill(this.compared, section("Side by side", el("p", {class: "lead", role: "status"}, said), arms.length ? sideBySide(arms, runs, this.metric) : null));
  }
}

function sideBySide(arms, runs, metric) {
  const teachers = runs.map(({report}) => report.teacher.metrics[metric.name]).filter(Number.isFinite);
  const [best, ...others] = arms;
  const isBest = others.length && others.every((arm) => notToldApart(best, arm) === null);
  const dots = arms.map((arm, n) => ({
    label: arm.name, value: arm.mean, interval: arm.interval, seeds: arm.values.length > 1 ? arm.values : [],
    role: n === 0 && isBest ? "best" : "arm", note: scoreText(arm, metric),
  }));
  if (teachers.length) dots.push({label: "teacher", value: meanOf(teachers), role: "teacher", note: metric.text(meanOf(teachers))});
  const described = `${metric.title} by arm: ${dots.map((dot) => `${dot.label} ${dot.note}`).join("; ")}`;
  const rows = arms.map((arm, n) => [
    arm.name, scoreText(arm, metric), arm.interval ? arm.interval.map((end) => metric.text(end)).join(" to ") : "–",
    arm.seeds.join(", "), count(arm.texts), n === 0 ? "–" : (APART[notToldApart(best, arm)] ?? "told apart"),
  ]);
  return [
    dotPlot(dots, described, (value) => (metric.isShare ? `${Number((100 * value).toFixed(2))}\u00a0%` : String(value))),
    el("p", {class: "quiet"}, `Dots are means, rings single seeds${arms.some((arm) => arm.interval) ? ", bars the 95 % interval over the test rows" : ""}. ± is the standard deviation over seeds.`),
    table("Arms, the best first", ["Arm", metric.title, "Interval over test rows", "Seeds", "Texts", `Beside ${best.name}`], rows),
    el("ul", {class: "notes"}, notes(arms).map((note) => el("li", {class: "warning"}, note)),
      el("li", {}, "Beside the best an arm is told apart when the difference is larger than both spreads together and the intervals do not touch. Pairing the test rows tells more:")),
    el("pre", {tabindex: 0, "aria-label": "The command that pairs the test rows"}, command(runs)),
  ];
}

const APART = {equal: "the same", seeds: "within the seeds", rows: "intervals overlap", "one seed": "one seed only"};

function command(runs) {
  const names = runs.slice(0, NAMED).map((run) => run.name).join(" ");
  return `transferset compare ${names}${runs.length > NAMED ? " …" : ""} --html comparison.html`;
}

function keptOf({report}, metric) {
  const teacher = report.teacher.metrics[metric.name];
  return teacher && !metric.isError ? report.metrics.finetuned[metric.name] / teacher : null;
}

function withInterval(metric, value, interval) {
  return [metric.text(value), interval ? el("small", {}, `${metric.text(interval[0])} to ${metric.text(interval[1])}`) : null];
}

function select(label, options, value, changed) {
  const id = newId("choose");
  const control = el("select", {id, onchange: () => {
    changed(control.value);
    announce(`${label}: ${control.selectedOptions[0]?.textContent ?? ""}`);
  }}, options.map(([each, text]) => el("option", {value: each, selected: each === value}, text)));
  return el("div", {class: "field"}, el("label", {for: id}, label), control);
}

function compare(a, b) {
  if (a === b) return 0;
  if (a === null || a === undefined) return -1;
  if (b === null || b === undefined) return 1;
  return typeof a === "string" ? a.localeCompare(b, "en", {numeric: true}) : a - b;
}
