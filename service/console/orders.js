// Orders: forms for a transfer set and for a run. What is sent twice is one order.

import {firstItems, newIdempotencyKey, post} from "./api.js";
import {announce, el} from "./element.js";
import {count} from "./figures.js";
import {box, choice, field, folded, makeForm, number, row, whole} from "./form.js";
import {emptyState, heading} from "./parts.js";
import {mixFields, policyFields} from "./policy.js";

const NAME = {required: true, maxlength: 100, pattern: "[A-Za-z0-9][A-Za-z0-9._\\-]*", spellcheck: "false", hint: "letters, digits, dots, dashes"};
const none = (text) => ["", text];
const allOf = ({isAll}) => (isAll ? null : "the first 200 by name");

export async function orderSetPage({signal, query}) {
  const [tasks, indexes, sets] = await Promise.all(["v1/tasks", "v1/indexes", "v1/transfer-sets"].map((path) => firstItems(path, signal)));
  const head = heading(null, "Order a transfer set", "A task’s utterances, each with its nearest passages, built as a job.");
  if (!tasks.items.length) return [head, noTask()];
  const usable = indexes.items.filter((index) => index.fault === null);
  const form = makeForm("Order a transfer set",
    {submit: "Order it", busy: "Ordering …", send: sending("v1/transfer-sets", signal), actions: [back("#/sets")]},
    row(field("name", "Name", {...NAME, placeholder: "clinc-hybrid"}),
      choice("task", "Task", tasks.items.map(({name}) => [name, name]), {value: query.get("task") ?? tasks.items[0].name, hint: allOf(tasks)})),
    row(choice("index", "Index", [...usable.map(({name, facts}) => [name, facts.rows ? `${name} · ${count(facts.rows)} passages` : name]), none("none")]),
      choice("retriever", "Retriever", [none("the best it has"), ...["hybrid", "lexical", "dense", "random", "augmented", "none"].map((name) => [name, name])]),
      whole("k", "Neighbours each", {value: 20, min: 1, max: 1000})),
    row(whole("shots", "Utterances a class", {min: 1, placeholder: "all"}), whole("seed", "Seed", {placeholder: "0"}),
      choice("size_of", "As many generic texts as", [none("no other set"), ...sets.items.map(({name}) => [name, name])], {hint: allOf(sets)})),
    folded("Rounds",
      row(whole("rounds", "Rounds", {min: 1, max: 3, placeholder: "1", hint: "2: the best neighbours ask in their turn"}),
        whole("askers", "Neighbours that ask", {min: 1, max: 20, placeholder: "3"}))),
    folded("Selection policy", mixFields(), policyFields(),
      box("include_utterance", "The utterances themselves are part of the set", {checked: true})));
  return [head, form];
}

export async function orderRunPage({signal, query}) {
  const [tasks, sets] = await Promise.all(["v1/tasks", "v1/transfer-sets"].map((path) => firstItems(path, signal)));
  const head = heading(null, "Order a run", "A small student, distilled from a teacher on a transfer set, and measured on the task’s test rows.");
  if (!tasks.items.length) return [head, noTask()];
  const form = makeForm("Order a run",
    {submit: "Order it", busy: "Ordering …", send: sending("v1/runs", signal, runOf), actions: [back("#/runs")]},
    row(field("name", "Name", {...NAME, placeholder: "clinc-hybrid-0"}),
      choice("transfer_set.name", "Transfer set", [...sets.items.filter(({fault}) => fault === null).map(({name}) => [name, name]), none("none: the baseline")], {value: query.get("set") ?? undefined, hint: allOf(sets) ?? "none trains on the labels alone, what distillation is measured against"})),
    row(choice("task.name", "Task", tasks.items.map(({name}) => [name, name])),
      whole("task.shots", "Labelled rows a class", {min: 1, placeholder: "all"}),
      whole("seed", "Seed", {value: 0})),
    row(whole("student.layers", "Student layers", {value: 2, min: 1}), whole("student.width", "Student width", {value: 128, min: 8}),
      whole("distill.updates", "Updates", {placeholder: "2500"})),
    folded("Teacher and training",
      row(field("teacher.model", "Teacher", {placeholder: "minilm", hint: "one that the service’s operator allows"}),
        whole("teacher.updates", "Teacher updates", {min: 1, placeholder: "500"})),
      row(number("objective.temperature", "Temperature", {placeholder: "2"}), number("distill.learning_rate", "Learning rate", {placeholder: "0.001"}),
        whole("finetune.updates", "Updates of finetuning", {placeholder: "200"}))));
  const task = form.elements.namedItem("task.name");
  const shots = form.elements.namedItem("task.shots");
  const follow = () => takeFromSet(form.elements.namedItem("transfer_set.name").value, sets.items, task, shots);
  form.elements.namedItem("transfer_set.name").addEventListener("change", follow);
  follow();
  return [head, form];
}

/** A run learns the labels of the task its transfer set was made for, of as many rows. */
function takeFromSet(name, sets, task, shots) {
  const params = sets.find((set) => set.name === name)?.params;
  if (!params) return;
  if ([...task.options].some((option) => option.value === params.task)) task.value = params.task;
  shots.value = params.shots ?? "";
}

/** Without a transfer set there is none, rather than one without a name. */
function runOf(values) {
  const {transfer_set: set, ...rest} = values;
  return set?.name ? values : rest;
}

function noTask() {
  return emptyState("There is no task yet", "Upload one first, or lay its file into the tasks folder:", "cp clinc150.parquet artifacts/tasks/",
    el("a", {class: "button", href: "#/tasks"}, "Upload a task"));
}

const back = (href) => el("a", {class: "button plain", href}, "Back");

/** Send an order under one key as long as it stays the same: what a broken line made us send again is one job. */
function sending(path, signal, form = (values) => values) {
  let last = {body: "", key: ""};
  return async (values) => {
    const order = form(values);
    const body = JSON.stringify(order);
    if (body !== last.body) last = {body, key: newIdempotencyKey()};
    const job = await post(path, order, {headers: {"Idempotency-Key": last.key}, signal});
    announce(`${job.name} is ${job.state}.`);
    location.hash = "#/jobs";
  };
}
