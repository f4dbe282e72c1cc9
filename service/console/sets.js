// Transfer sets: which there are.

import {el} from "./element.js";
import {count, percent} from "./figures.js";
import {emptyState, heading, listing} from "./parts.js";

export async function setsPage({signal}) {
  const list = await listing("v1/transfer-sets", {
    limit: 30, signal, into: el("ul", {class: "cards"}), empty: noSets(), show: (items) => items.map(card),
  });
  return [
    heading(null, "Transfer sets", "Utterances with their neighbours: what students are distilled on."),
    el("div", {class: "actions"}, el("a", {class: "button", href: "#/sets/new"}, "Order a transfer set")),
    list,
  ];
}

function noSets() {
  return emptyState("No transfer sets yet", "Order one with the button above, or build one on the command line:",
    "transferset build --index web --task artifacts/tasks/clinc150.parquet --name first");
}

function card(set) {
  if (set.fault !== null) {
    return el("li", {class: "card"}, el("h2", {}, set.name), el("p", {class: "problem"}, set.fault));
  }
  const {facts, params} = set;
  return el("li", {class: "card"},
    el("div", {class: "top"}, el("h2", {}, el("a", {href: `#/sets/of/${encodeURIComponent(set.name)}`}, set.name)), el("span", {class: "kind"}, String(facts.retriever))),
    el("p", {}, `${count(facts.texts)} texts: ${count(facts.utterances)} utterances and ${count(facts.neighbours)} neighbours, generic share ${percent(facts.generic_share)}.`),
    el("p", {class: "quiet"}, `task ${params.task}${params.shots ? ` · ${params.shots} a class` : ""} · k = ${count(facts.k)} · seed ${params.seed}`));
}
