// The dialog for the API key, and the button that opens it.

import {key} from "./api.js";
import {announce, el, fill} from "./element.js";

/** Make the button work; `changed` is told when there is another key. */
export function setUpKey(button, changed) {
  const why = el("p", {class: "warning", hidden: true});
  const field = el("input", {
    id: "key-field", type: "password", autocomplete: "off", spellcheck: "false", placeholder: "tset_…",
    "aria-describedby": "key-hint",
  });
  const choose = (secret) => {
    if (!/^[!-~]*$/.test(secret.trim())) {
      why.textContent = "A key is made of letters, digits and signs without gaps, as tset_…; copy it again.";
      why.hidden = false;
      return;
    }
    key.set(secret.trim());
    field.value = "";
    dialog.close();
    show();
    announce(key.get() ? "The key is used from now on." : "The key is forgotten.");
    changed();
  };
  const dialog = el(
    "dialog",
    {"aria-labelledby": "key-title"},
    el("form", {method: "dialog", onsubmit: (event) => (event.preventDefault(), choose(field.value))},
      el("h2", {id: "key-title"}, "API key"),
      why,
      el("div", {class: "field"}, el("label", {for: "key-field"}, "Key"), field),
      el("p", {class: "quiet", id: "key-hint"},
        "It stays in this tab and is gone with it. Who runs this service makes one with ",
        el("code", {}, "transferset keys create"), "."),
      el("div", {class: "actions"},
        el("button", {type: "submit"}, "Use this key"),
        el("button", {type: "button", class: "plain", onclick: () => choose("")}, "Forget the key"),
        el("button", {type: "button", class: "plain", onclick: () => dialog.close()}, "Close"))),
  );
  const show = () => fill(button, key.get() ? "API key: set" : "API key");
  const open = (said = "") => {
    why.textContent = said;
    why.hidden = !said;
    if (!dialog.open) dialog.showModal();
    field.focus();
  };
  document.body.append(dialog);
  button.addEventListener("click", () => open());
  window.addEventListener("key-needed", (event) => open(event.detail));
  show();
}
