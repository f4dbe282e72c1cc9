// Forms: labelled fields, their values as the JSON the API takes, and what it refuses said at the field it is about.

import {Problem, isAbort} from "./api.js";
import {announce, el, fill, newId} from "./element.js";
import {showProblem} from "./parts.js";

/** A field with its label. `name` is its place in the request: "policy.max_words". Numbers are sent as numbers. */
export function field(name, label, {as = "input", hint, options, ...given} = {}) {
  const id = newId("field");
  const choices = options?.map(([value, text]) => el("option", {value, selected: value === given.value}, text)) ?? [];
  const control = el(as, {id, name, autocomplete: "off", ...given, "aria-describedby": `${id}-hint ${id}-fault`}, choices);
  const isBox = given.type === "checkbox";
  const words = el("label", {for: id}, label);
  return el("div", {class: isBox ? "field box" : "field"},
    isBox ? [control, words] : [words, control],
    hint ? el("p", {class: "hint", id: `${id}-hint`}, hint) : null,
    el("p", {class: "fault", id: `${id}-fault`, hidden: true}));
}

export const number = (name, label, given = {}) => field(name, label, {type: "number", inputmode: "decimal", step: "any", ...given});
export const whole = (name, label, given = {}) => field(name, label, {type: "number", inputmode: "numeric", step: 1, min: 0, ...given});
export const choice = (name, label, options, given = {}) => field(name, label, {as: "select", options, ...given});
export const box = (name, label, given = {}) => field(name, label, {type: "checkbox", ...given});

/** Fields side by side where there is room. */
export const row = (...fields) => el("div", {class: "row"}, fields);

export function fieldset(legend, ...content) {
  return el("fieldset", {}, el("legend", {}, legend), content);
}

/** Fields that most need not see. */
export function folded(summary, ...content) {
  return el("details", {class: "folded"}, el("summary", {}, summary), content);
}

/** A form. `send` gets the values; what it refuses is shown, and until it is done it cannot be sent again. */
export function makeForm(label, {submit, send, busy = "Sending …", live = null, actions = []}, ...content) {
  const fault = el("div", {class: "form-fault"});
  const button = el("button", {type: "submit"}, submit);
  const form = el("form", {"aria-label": label, onsubmit: onSubmit}, content, fault, el("div", {class: "actions"}, button, actions));
  async function onSubmit(event) {
    event.preventDefault();
    if (button.disabled) return;
    clearFaults(form, fault);
    button.disabled = true;
    fill(button, busy);
    try {
      await send(readValues(form), form);
    } catch (error) {
      if (!isAbort(error)) showFault(form, fault, error);
    } finally {
      button.disabled = false;
      fill(button, submit);
    }
  }
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  if (live) form.addEventListener("change", () => live(form));
  return form;
}

/** What stands in a form: {policy: {max_words: 30}}; what was left empty is left out. */
export function readValues(form) {
  const values = {};
  for (const control of form.elements) {
    const value = control.name ? valueOf(control) : undefined;
    if (value === undefined) continue;
    const path = control.name.split(".");
    const last = path.pop();
    path.reduce((into, part) => (into[part] ??= {}), values)[last] = value;
  }
  return values;
}

function valueOf(control) {
  if (control.type === "checkbox") return control.checked;
  if (control.type === "file") return control.files[0];
  if (control.value.trim() === "") return undefined;
  return control.type === "number" ? Number(control.value) : control.value;
}

function clearFaults(form, fault) {
  fill(fault);
  for (const control of form.elements) {
    control.removeAttribute("aria-invalid");
    const said = document.getElementById(`${control.id}-fault`);
    if (said) said.hidden = true;
  }
}

/** At its field, where the form has it and shows it; else below the form. The first fault gets the focus. */
function showFault(form, fault, error) {
  if (!(error instanceof Problem)) console.error(error);
  const faults = error.faults?.length ? error.faults : [{field: error.field, detail: error.message}];
  const placed = faults.map(({field: name, detail}) => placeFault(form, name, detail));
  if (!placed.every(Boolean)) fill(fault, showProblem(error));
  else announce(error.message);
  placed.find(Boolean)?.focus();
}

function placeFault(form, name, detail) {
  const control = Array.from(form.elements).find((each) => each.name && (each.name === name || name?.startsWith(`${each.name}.`)));
  const said = control && document.getElementById(`${control.id}-fault`);
  if (!said) return null;
  said.textContent = detail;
  said.hidden = false;
  control.setAttribute("aria-invalid", "true");
  control.closest("details")?.setAttribute("open", "");
  return control;
}
