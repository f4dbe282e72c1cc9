// Tasks: which there are, and a new one uploaded.

import {each, get, post} from "./api.js";
import {announce, el, fill} from "./element.js";
import {count, plural} from "./figures.js";
import {box, field, makeForm, row} from "./form.js";
import {emptyState, heading, listing, showProblem} from "./parts.js";

export async function tasksPage({signal}) {
  const list = el("ul", {class: "cards"});
  const holder = el("div", {});
  const load = async () => fill(holder, await listing("v1/tasks", {
    limit: 20, signal, into: fill(list), empty: noTasks(),
    show: async (items) => (await each(items, ({name}) => get(`v1/tasks/${encodeURIComponent(name)}`, signal))).map((found, n) => card(items[n].name, found)),
  }));
  await load();
  return [
    heading(null, "Tasks", "Utterances with labels and splits, for which transfer sets are built."),
    holder,
    el("section", {}, el("h2", {}, "Upload a task"), uploadForm(load, signal)),
  ];
}

function noTasks() {
  return emptyState("No tasks yet",
    "Upload a file below: a row an utterance, with the columns text and intent (or label), and split where it has train and test. Or lay it into the tasks folder:",
    "cp clinc150.parquet artifacts/tasks/");
}

function card(name, found) {
  if (found instanceof Error) return el("li", {class: "card"}, el("h2", {}, name), showProblem(found));
  const splits = Object.entries(found.splits).map(([split, rows]) => `${split} ${count(rows)}`).join(", ");
  return el("li", {class: "card"},
    el("div", {class: "top"}, el("h2", {}, name), el("a", {class: "button plain", href: `#/sets/new?task=${encodeURIComponent(name)}`}, "Order a transfer set", el("span", {class: "unseen"}, ` for ${name}`))),
    el("p", {}, `${plural(found.rows, "row")}: ${splits}.`),
    el("p", {class: "quiet"}, found.targets.length ? `To predict: ${found.targets.join(", ")}.` : "No column to predict."),
    found.bad_rows ? badRows(name, found.bad_rows) : null);
}

function badRows(name, number) {
  const rows = el("ul", {class: "notes"});
  const open = async () => {
    const {items} = await get(`v1/tasks/${encodeURIComponent(name)}/errors`).catch((error) => ({items: [{reason: error.message}]}));
    fill(rows, items.slice(0, 50).map((bad) => el("li", {}, bad.row ? `Row ${bad.row}, ${bad.column}: ` : "", bad.reason)),
      items.length > 50 ? el("li", {}, `and ${count(items.length - 50)} more`) : null);
  };
  return el("details", {ontoggle: (event) => event.target.open && open()},
    el("summary", {}, `${plural(number, "row")} cannot be used`), rows);
}

function uploadForm(load, signal) {
  const done = el("p", {class: "best", role: "status"});
  const form = makeForm("Upload a task",
    {submit: "Upload", busy: "Uploading …", send: async (values) => {
      fill(done);
      const body = new FormData();
      for (const [name, value] of Object.entries(values)) body.append(name, value);
      const made = await post("v1/tasks", body, {signal});
      fill(done, `${made.name} is there: ${plural(made.rows, "row")}.`);
      announce(done.textContent);
      form.reset();
      await load();
    }},
    row(
      field("file", "File", {type: "file", required: true, accept: ".parquet,.jsonl,.csv,.tsv,.txt,.gz,.zst", hint: "Parquet, JSONL, CSV or TSV; text ones also .gz, .zst"}),
      field("name", "Name", {required: true, pattern: "[A-Za-z0-9][A-Za-z0-9._\\-]*", maxlength: 100, placeholder: "clinc150", hint: "letters, digits, dots, dashes"})),
    field("columns", "Columns that are called otherwise", {placeholder: '{"text": "sentence", "intent": "label"}', hint: "our names to the file’s, as JSON; empty when they are the same"}),
    box("skip_bad_rows", "Keep the file though some of its rows cannot be used"));
  form.addEventListener("change", (event) => {
    const name = form.elements.namedItem("name");
    if (event.target.type === "file" && !name.value) name.value = nameFrom(event.target.files[0]?.name ?? "");
  });
  return [form, done];
}

const nameFrom = (filename) => filename.replace(/(\.(parquet|jsonl|csv|tsv|txt))?(\.(gz|zst))?$/, "").replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^[^A-Za-z0-9]+/, "");
