// A transfer set, looked into: its size, scores, sources, drops, words, rows, and its files.

import {get, save} from "./api.js";
import {el, fill, said} from "./element.js";
import {bytes, count, decimal, percent, plural, score} from "./figures.js";
import {amounts, histogram} from "./plots.js";
import {facts, heading, listing, section, showProblem, table, tiles} from "./parts.js";

const SCORES = {score: "Score of the retriever", lexical_score: "Lexical score (BM25)", dense_score: "Dense score (cosine)"};
const DROPS = {
  shots: "not drawn for the few shots", heldout_exact: "equals held-out text", heldout_ngram: "near held-out text, by words",
  heldout_cosine: "near held-out text, by encoder", rank_band: "outside the rank band", no_match: "no word in common",
  score_band: "outside the score band", length_band: "too short or too long", near_utterance: "near-duplicate of its utterance",
  max_uses: "used by a nearer utterance", diversity: "too like those chosen", not_included: "utterances left out", generic_share: "beyond the generic share",
  budget_generic: "beyond the budget of generic texts", budget_rows: "beyond the budget of texts", budget_words: "beyond the budget of words",
};

export async function setPage({name, signal}) {
  const path = `v1/transfer-sets/${encodeURIComponent(name)}`;
  const [set, report, shards] = await Promise.all([get(path, signal), get(`${path}/report`, signal), get(`${path}/shards`, signal)]);
  return [
    heading(`transfer set · ${report.retriever}`, name, sentence(report)),
    overview(report),
    scores(report),
    words(report),
    dropped(report),
    await examples(path, signal),
    files(path, set, shards.items),
    lineage(set),
  ];
}

function sentence({task, generic, generic_share: share}) {
  return `${plural(task.texts, "text")} of the task and ${plural(generic.texts, "generic text")}: ${percent(share)} is generic.`;
}

function overview(report) {
  const each = report.neighbours_per_utterance;
  return tiles("The transfer set in four numbers", [
    ["Texts", count(report.texts), `in ${plural(report.rows, "row")}`],
    ["Generic share", percent(report.generic_share), `${count(report.generic.texts)} neighbours`],
    ["Neighbours each", each ? decimal(each.mean, 1) : "–", each ? `${count(each.least)} to ${count(each.most)}` : "none"],
    ["Vocabulary overlap", percent(report.vocabulary_overlap), "of the task’s top words"],
  ]);
}

function scores({histograms, retriever}) {
  const wanted = Object.entries(histograms).filter(([name]) => name === "score" || (retriever === "hybrid" && name !== "score"));
  if (!wanted.length || retriever === "random") return section("Scores", el("p", {class: "quiet"}, "These neighbours have no scores: nothing was ranked."));
  return section("How near the neighbours are",
    el("div", {class: "pair"}, wanted.map(([name, found]) => el("div", {},
      el("h3", {}, SCORES[name]),
      histogram(found, `Histogram: ${SCORES[name]} of ${count(sum(found.counts))} neighbours, from ${score(found.edges[0])} to ${score(found.edges.at(-1))}`, score)))),
    el("p", {class: "quiet"}, "Higher is nearer. A hybrid score only tells ranks; how near texts are is in its two parts."));
}

function words({task, generic}) {
  const sides = [["Utterances of the task", task], ["Generic texts", generic]].filter(([, side]) => side.words_histogram);
  return section("Words a text",
    el("div", {class: "pair"}, sides.map(([name, side]) => el("div", {},
      el("h3", {}, name),
      histogram(side.words_histogram, `Histogram: words a text, ${name}, from ${count(side.words.least)} to ${count(side.words.most)}, median ${count(side.words.median)}`, (edge) => count(Math.round(edge))),
      facts([["Median", count(side.words.median)], ["Mean", decimal(side.words.mean, 1)], ["Different words", count(side.vocabulary)], ["Distinct-1, Distinct-2", `${decimal(side.distinct_1)}, ${decimal(side.distinct_2)}`]])))));
}

function dropped({counts, sources}) {
  return el("div", {class: "pair"},
    section("Dropped, and why", Object.entries(counts).reverse().map(droppedOf)),
    section("Sources", Object.keys(sources).length ? amounts(Object.entries(sources), "Neighbours by source") : el("p", {class: "quiet"}, "No neighbours, no sources.")));
}

function droppedOf([unit, {rows_in: came, rows_out: stayed, dropped: drops}]) {
  const reasons = Object.entries(drops).sort((a, b) => b[1] - a[1]).map(([reason, rows]) => [DROPS[reason] ?? reason, rows]);
  const kept = el("span", {class: "quiet"}, ` · ${count(stayed)} of ${count(came)} stay`);
  return [el("h3", {}, unit === "neighbours" ? "Neighbours" : "Utterances", kept), reasons.length ? amounts(reasons, `Dropped ${unit} by reason`) : null];
}

async function examples(path, signal) {
  const rows = await listing(`${path}/rows`, {limit: 5, signal, into: el("ol", {class: "examples"}), show: (items) => items.map(example)});
  return section("Examples", rows);
}

function example(row) {
  const classes = [row.domain, row.intent, row.label].filter(Boolean);
  const [first, rest] = [row.neighbours.slice(0, 3), row.neighbours.slice(3, 50)];
  const one = (neighbour) => el("li", {}, said(neighbour.text), " ", el("span", {class: "origin"}, el("bdi", {}, neighbour.source), ` · #${neighbour.rank}`, neighbour.score === null ? "" : ` · ${score(neighbour.score)}`));
  return el("li", {},
    el("p", {class: "utterance-text"}, said(row.text), row.text_pair ? [" ", el("span", {class: "quiet"}, "/"), " ", said(row.text_pair)] : null, classes.map((name) => el("span", {class: "kind"}, el("bdi", {}, name)))),
    row.include_utterance ? null : el("p", {class: "quiet"}, "Its own text is not part of the set."),
    row.neighbours.length ? el("ul", {}, first.map(one)) : el("p", {class: "quiet"}, "No neighbours were kept."),
    rest.length ? el("details", {}, el("summary", {}, plural(row.neighbours.length - 3, "more neighbour")), el("ul", {}, rest.map(one))) : null);
}

function files(path, set, shards) {
  const fault = el("div");
  const fetching = (href, name) => el("button", {type: "button", class: "plain", onclick: async () => {
    fill(fault);
    await save(href, name).catch((error) => fill(fault, showProblem(error)));
  }}, "Download", el("span", {class: "unseen"}, ` ${name}`));
  const rows = shards.slice(0, 50).map((shard) => [shard.name, count(shard.rows), bytes(shard.bytes), fetching(`${path}/shards/${shard.number}`, `${set.name}-${shard.name}`)]);
  return section("Files", table("Shards of the transfer set", ["Parquet shard", "Rows", "Size", ""], rows),
    shards.length > 50 ? el("p", {class: "quiet"}, `The first 50 of ${count(shards.length)} shards. `) : null,
    fault,
    el("p", {class: "quiet"}, "All at once, with the manifest that makes it an artifact, from Python:"),
    el("pre", {tabindex: 0, "aria-label": "Download it from Python"}, `from service.client import Client\nClient("${new URL(".", document.baseURI).href.replace(/\/$/, "")}").transfer_set("${set.name}").download("artifacts")`));
}

function lineage(set) {
  const made = Object.entries(set.inputs).map(([kind, id]) => [`${kind} id`, el("code", {}, id)]);
  return section("Where it comes from",
    facts([["id", el("code", {}, set.id)], ...made, ["task", set.params.task], ["seed", count(set.params.seed)]], {isWide: true}),
    el("details", {}, el("summary", {}, "Every setting"), el("pre", {tabindex: 0, "aria-label": "Every setting as JSON"}, JSON.stringify(set.params, null, 2))));
}

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
