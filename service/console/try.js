// Try: some utterances, their neighbours, and what the selection policy would do with each.

import {firstItems, post} from "./api.js";
import {announce, el, fill, said} from "./element.js";
import {count, plural, score} from "./figures.js";
import {choice, field, folded, makeForm, row, whole} from "./form.js";
import {emptyState, heading} from "./parts.js";
import {policyFields} from "./policy.js";

const MOST = 64; // utterances the service explains at a time
const REASONS = {
  rank_band: "rank", no_match: "no match", score_band: "score", length_band: "length", heldout_exact: "held out",
  heldout_ngram: "held out", heldout_cosine: "held out", near_utterance: "near-duplicate", max_uses: "used already", diversity: "diversity",
};

let remembered = null; // the form and what was found with it: whoever looks elsewhere comes back to them

export async function tryPage({signal}) {
  const [indexes, tasks] = await Promise.all([firstItems("v1/indexes", signal), firstItems("v1/tasks", signal)]);
  const usable = indexes.items.filter((index) => index.fault === null);
  const head = heading(null, "Try some utterances",
    "The passages of an index nearest to each, and which of them a transfer set would keep.");
  if (!usable.length) return [head, noIndex(indexes.items)];
  const offered = JSON.stringify([usable, tasks.items]);
  if (remembered?.offered !== offered) remembered = {offered, ...asking(usable, tasks)};
  remembered.at.signal = signal;
  return [head, remembered.form, remembered.results];
}

function asking(usable, tasks) {
  const at = {signal: null};
  const results = el("div", {class: "results"});
  const form = makeForm("Find neighbours",
    {submit: "Find neighbours", busy: "Searching …", live: (changed) => offer(changed, usable), send: (values) => search(values, results, at.signal)},
    el("div", {class: "asking"},
      field("utterances", "Utterances, one a line", {
        as: "textarea", rows: 6, required: true, placeholder: "wake me at seven tomorrow\nplay some jazz", spellcheck: "false",
      }),
      el("div", {},
        choice("index", "Index", usable.map((index) => [index.name, nameOf(index)])),
        row(choice("retriever", "Retriever", []), whole("k", "Neighbours each", {value: 10, min: 1, max: 1000})),
        choice("task", "Held-out text of", [["", "no task"], ...tasks.items.map(({name}) => [name, name])],
          {hint: tasks.isAll ? "what comes near its test rows is a leak" : "the first 200 tasks by name"}))),
    folded("Selection policy", policyFields()));
  offer(form, usable);
  return {form, results, at};
}

function noIndex(broken) {
  const faults = broken.map((index) => `${index.name}: ${index.fault}`);
  return emptyState("There is no index to search yet",
    faults.length ? `What there is cannot be opened. ${faults.join("; ")}` : "Build a corpus out of documents, and an index out of the corpus. Then load this page again.",
    "transferset corpus build documents.jsonl --name web\ntransferset index build --corpus web --name web");
}

const nameOf = (index) => (index.facts.rows ? `${index.name} · ${count(index.facts.rows)} passages` : index.name);

/** The retrievers that the chosen index has; the best of them is the default. */
function offer(form, indexes) {
  const index = indexes.find(({name}) => name === form.elements.index.value);
  const built = index.params.retrievers ?? [];
  const there = [...(built.includes("lexical") && built.includes("dense") ? ["hybrid"] : []), ...built, "random"];
  const select = form.elements.retriever;
  const before = select.value;
  fill(select, [...new Set(there)].map((name) => el("option", {value: name}, name)));
  select.value = there.includes(before) ? before : there[0];
}

async function search(values, results, signal) {
  const utterances = values.utterances.split("\n").map((line) => line.trim()).filter(Boolean);
  const given = {...values, utterances: utterances.slice(0, MOST).map((text, n) => ({id: String(n + 1), text}))};
  const found = await post("v1/neighbours:explain", given, {signal});
  const all = found.utterances.flatMap((utterance) => utterance.neighbours);
  const sentence = summary(found, all);
  fill(results,
    el("p", {class: "summary"}, sentence),
    utterances.length > MOST ? el("p", {class: "warning"}, `These are the first ${MOST} of ${count(utterances.length)} utterances; a transfer set takes them all.`) : null,
    found.utterances.map((utterance) => showUtterance(utterance, found.retriever)));
  announce(sentence);
  results.querySelector("h2")?.scrollIntoView({block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth"});
}

function summary(found, all) {
  const kept = all.filter((neighbour) => neighbour.kept).length;
  const dropped = {};
  for (const {reason} of all) if (reason) dropped[REASONS[reason] ?? reason] = (dropped[REASONS[reason] ?? reason] ?? 0) + 1;
  const why = Object.entries(dropped).sort((a, b) => b[1] - a[1]).map(([name, rows]) => `${name} ${count(rows)}`);
  const looked = found.heldout_texts ? ` ${plural(found.heldout_texts, "held-out text")} looked at.` : "";
  return `${plural(all.length, "neighbour")} by the ${found.retriever} retriever: ${count(kept)} kept${why.length ? `; dropped: ${why.join(", ")}` : ""}.${looked}`;
}

function showUtterance(utterance, retriever) {
  const kept = utterance.neighbours.filter((neighbour) => neighbour.kept).length;
  const best = Math.max(...utterance.neighbours.map((neighbour) => neighbour.score ?? 0), 0);
  return el("section", {class: "utterance"},
    el("div", {class: "asked"}, el("h2", {}, el("span", {class: "quiet"}, `${utterance.id} `), said(utterance.text)), el("span", {class: "quiet"}, `${kept} of ${utterance.neighbours.length} kept`)),
    el("ol", {class: "neighbours", start: 0}, utterance.neighbours.map((neighbour) => showNeighbour(neighbour, retriever, best))));
}

function showNeighbour(neighbour, retriever, best) {
  return el("li", {class: neighbour.kept ? "kept" : "dropped"},
    el("span", {class: "rank", "aria-hidden": "true"}, neighbour.rank),
    el("div", {class: "passage"},
      el("p", {}, said(neighbour.text)),
      el("p", {class: "origin"}, el("bdi", {}, neighbour.source), " · ", plural(neighbour.n_words, "word"), neighbour.lang ? ` · ${neighbour.lang}` : ""),
      neighbour.kept ? null : el("p", {class: "why"}, neighbour.why)),
    showScores(neighbour, retriever, best),
    el("span", {class: "verdict"}, neighbour.kept ? "kept" : "dropped"));
}

/** The score by the retriever, with a bar beside the best one's, and where both its parts rank the passage. */
function showScores(neighbour, retriever, best) {
  const share = best > 0 && neighbour.score > 0 ? neighbour.score / best : 0;
  const part = (name, rank, value) => (rank === null ? `${name} not among the nearest` : `${name} #${rank} (${score(value)})`);
  const parts = retriever === "hybrid"
    ? [part("lexical", neighbour.lexical_rank, neighbour.lexical_score), part("dense", neighbour.dense_rank, neighbour.dense_score)]
    : [];
  return el("div", {class: "scores"},
    el("b", {}, el("span", {class: "unseen"}, "score "), retriever === "random" ? "–" : score(neighbour.score)),
    el("span", {class: "meter", "aria-hidden": "true"}, el("i", {style: {width: `${(100 * share).toFixed(1)}%`}})),
    parts.map((text) => el("span", {class: "part"}, text)));
}
