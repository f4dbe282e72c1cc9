// The selection policy as fields of a form: what may stand in a transfer set. Their names are those of the API.

import {el} from "./element.js";
import {box, fieldset, number, row, whole} from "./form.js";

/** The fields that look at one neighbour alone. */
export function policyFields() {
  return el("div", {class: "pair"},
    fieldset("Words",
      row(whole("policy.min_words", "Fewest", {placeholder: "1"}), whole("policy.max_words", "Most", {placeholder: "any"}))),
    fieldset("Rank; 0 is the best",
      row(whole("policy.min_rank", "Nearest", {placeholder: "0"}), whole("policy.max_rank", "Farthest", {placeholder: "any"}))),
    fieldset("Score; higher is nearer",
      row(number("policy.min_score", "Least", {placeholder: "any"}), number("policy.max_score", "Greatest", {placeholder: "any"}))),
    fieldset("Doubles",
      row(number("policy.near_utterance", "Near-duplicate from", {min: 0, max: 1, placeholder: "0.8", hint: "Jaccard of word sets"}),
        whole("policy.max_uses", "Uses of a passage", {min: 1, placeholder: "1"}))),
    fieldset("Diversity",
      row(number("policy.diversity", "Unlikeness counts", {min: 0, max: 1, placeholder: "off", hint: "0.5: as much as nearness"}),
        whole("policy.pool", "Chosen out of", {min: 1, max: 1000, placeholder: "3 times k"}))),
    fieldset("Leaks of held-out text",
      row(whole("policy.heldout.ngram", "Words a run", {min: 1, placeholder: "3"}),
        number("policy.heldout.containment", "Share of its runs", {min: 0, max: 1, placeholder: "0.75"}))),
    fieldset("No match", box("policy.drop_no_match", "Drop what shares no word with the utterance", {checked: true})));
}

/** The fields that look at the set as a whole. */
export function mixFields() {
  return fieldset("Mix and size",
    row(number("policy.generic_share", "Generic share", {min: 0, max: 1, placeholder: "as found", hint: "0.7: seven generic texts to three of the task"}),
      whole("policy.budget_rows", "Most texts", {min: 1, placeholder: "any"}),
      whole("policy.budget_words", "Most words in all", {min: 1, placeholder: "any"})),
    box("policy.per_class", "Cut evenly over the classes"));
}
