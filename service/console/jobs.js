// Jobs: what is being built, as it goes on. Streams show the first few at once; the list, asked again and again, all.

import {Problem, get, isAbort, post} from "./api.js";
import {announce, el, fill} from "./element.js";
import {follow, pause} from "./events.js";
import {count, duration, moment} from "./figures.js";
import {emptyState, heading, listing, showProblem} from "./parts.js";

const ENDED = ["finished", "failed", "cancelled"];
const STREAMS = 3; // a browser has six connections to a server
const LOOK_MS = 3000;
const LOOK_IDLE_MS = 10_000;

export async function jobsPage({signal}) {
  const cards = new Map();
  const list = el("ol", {class: "cards", reversed: true});
  const show = (jobs) => jobs.filter((job) => !cards.has(job.id)).map((job) => {
    const card = new JobCard(job, signal);
    cards.set(job.id, card);
    return card.node;
  });
  const content = await listing("v1/jobs", {limit: 20, signal, show, into: list, empty: noJobs()});
  const doubt = el("p", {class: "warning", role: "status"});
  keepLooking({cards, list, show, doubt}, signal);
  return [
    heading(null, "Jobs", "What the service is building, newest first."),
    el("div", {class: "actions"},
      el("a", {class: "button", href: "#/sets/new"}, "Order a transfer set"),
      el("a", {class: "button plain", href: "#/runs/new"}, "Order a run"),
      el("a", {class: "button plain", href: "#/tasks"}, "Upload a task")),
    doubt,
    content,
  ];
}

function noJobs() {
  return emptyState("No jobs yet", "Order a transfer set with the button above, or on the command line:",
    `curl ${new URL("v1/transfer-sets", document.baseURI)} \\\n  --json \'{"name": "first", "index": "web", "task": "clinc150", "k": 20}'`);
}

/** New jobs and new states, as long as the page is open; nothing is asked while no one can see it. */
async function keepLooking({cards, list, show, doubt}, signal) {
  while (!signal.aborted) {
    const alive = [...cards.values()].filter((card) => !card.hasEnded);
    const followed = alive.filter((card) => card.isFollowed).length;
    alive.filter((card) => !card.isFollowed && !card.isRefused).slice(0, STREAMS - followed).forEach((card) => card.follow());
    await pause(alive.length ? LOOK_MS : LOOK_IDLE_MS, signal);
    if (document.hidden || signal.aborted) continue;
    try {
      const {items} = await get("v1/jobs?limit=20", signal);
      items.filter((job) => cards.has(job.id)).forEach((job) => cards.get(job.id).update(job));
      list.prepend(...show(items));
      const shown = new Set(items.map((job) => job.id));
      for (const card of alive.filter((each) => !shown.has(each.job.id) && !each.isFollowed)) {
        card.update(await get(`v1/jobs/${encodeURIComponent(card.job.id)}`, signal));
      }
      fill(doubt);
    } catch (error) {
      if (isAbort(error)) return;
      if (!(error instanceof Problem)) throw error;
      fill(doubt, `${error.message} Below is what was last known; it is asked again by itself.`);
    }
  }
}

/** One job: made once, then changed in its places, so that neither focus nor an opened part is lost. */
class JobCard {
  constructor(job, signal) {
    this.signal = signal;
    this.isFollowed = false;
    this.isRefused = false;
    this.title = el("h2", {});
    this.state = el("span", {class: "state"});
    this.stage = el("span", {});
    this.bar = el("progress", {"aria-label": `Progress of ${job.name}`});
    this.times = el("p", {class: "quiet"});
    this.fault = el("div", {});
    this.cancelling = el("button", {type: "button", class: "plain", onclick: () => this.cancel()}, "Cancel", el("span", {class: "unseen"}, ` ${job.name}`));
    this.node = el("li", {class: "card job"},
      el("div", {class: "top"}, this.title, el("span", {class: "kind"}, KINDS[job.kind] ?? job.kind), this.state, this.cancelling),
      el("div", {class: "going"}, this.bar, this.stage),
      this.times, this.fault,
      el("details", {}, el("summary", {}, "The order"), el("pre", {tabindex: 0, "aria-label": "The order as JSON"}, JSON.stringify(job.request, null, 2))));
    this.update(job, {isFirst: true});
  }

  get hasEnded() {
    return ENDED.includes(this.job.state);
  }

  async follow() {
    this.isFollowed = true;
    const wasFollowed = await follow(this.job.id, (name, data) => this.hear(name, data), this.signal);
    this.isFollowed = false;
    this.isRefused = !wasFollowed;
  }

  hear(name, data) {
    if (name === "end") this.update(data);
    else if (name === "state") this.update({...this.job, state: data.state, ...(data.state === "running" ? {started_at: data.at} : {})});
    else if (name === "progress") {
      const {stage, ...counts} = data;
      this.update({...this.job, state: "running", stage, counts});
    }
  }

  update(job, {isFirst = false} = {}) {
    if (!isFirst && job.state !== this.job.state) announce(`${job.name} is ${job.state}.`);
    this.job = job;
    fill(this.title, titleOf(job));
    fill(this.state, job.state);
    this.state.dataset.state = job.state;
    this.cancelling.hidden = this.hasEnded;
    showProgress(this, job);
    fill(this.times, timesOf(job));
    fill(this.fault, job.error ? el("p", {class: "problem"}, job.error.detail) : null);
  }

  async cancel() {
    this.cancelling.disabled = true;
    try {
      this.update(await post(`v1/jobs/${encodeURIComponent(this.job.id)}:cancel`, undefined, {signal: this.signal}));
    } catch (error) {
      if (!isAbort(error)) fill(this.fault, showProblem(error));
    } finally {
      this.cancelling.disabled = false;
    }
  }
}

const KINDS = {"transfer-set": "transfer set", run: "run"};
const PLACES = {"transfer-set": "sets", run: "runs"};

function titleOf(job) {
  if (job.state !== "finished" || !PLACES[job.kind]) return job.name;
  return el("a", {href: `#/${PLACES[job.kind]}/of/${encodeURIComponent(job.name)}`}, job.name);
}

/** A bar without a value moves to and fro: something is done, and no one knows how much there is. */
function showProgress({bar, stage}, job) {
  const {done, total} = job.counts;
  const isRunning = job.state === "running";
  bar.hidden = !isRunning;
  if (isRunning && total) {
    bar.max = total;
    bar.value = Math.min(done ?? 0, total);
  } else bar.removeAttribute("value");
  const said = total && isRunning ? `${job.stage ?? ""} ${count(done ?? 0)} of ${count(total)}` : isRunning ? (job.stage ?? "starting") : "";
  fill(stage, said.trim());
}

function timesOf(job) {
  const ended = job.finished_at ?? job.failed_at ?? job.cancelled_at;
  const parts = [`ordered ${moment(job.queued_at)}`];
  if (job.started_at) parts.push(`begun ${moment(job.started_at)}`);
  if (ended) parts.push(`${job.state} ${moment(ended)}${job.started_at ? `, after ${duration(Math.max(0, ended - job.started_at))}` : ""}`);
  if (job.index) parts.push(`index ${job.index}`);
  return parts.join(" · ");
}
