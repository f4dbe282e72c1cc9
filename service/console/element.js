// Elements: how every part of the page is made. Text goes in as text, whatever stands in it; there is no HTML anywhere.

const SVG = "http://www.w3.org/2000/svg";

/** An element: el("a", {href: "#/runs", class: "name"}, "Runs"). Handlers are `on…`; null and false leave a thing out. */
export function el(name, given = {}, ...children) {
  return dress(document.createElement(name), given, children);
}

/** The same for a drawing. */
export function svg(name, given = {}, ...children) {
  return dress(document.createElementNS(SVG, name), given, children);
}

/** A user's text: its own direction, never wider than its place; a very long one is opened by a button. */
export function said(text, most = 600) {
  if (text.length <= most) return el("bdi", {class: "said"}, text);
  const shown = el("bdi", {class: "said"}, text.slice(0, most) + "…");
  const more = el("button", {type: "button", class: "link", onclick: () => open()}, "show all of it");
  const open = () => {
    shown.textContent = text;
    more.remove();
  };
  return el("span", {}, shown, " ", more);
}

/** Put these in place of all that a node holds. */
export function fill(node, ...children) {
  node.replaceChildren(...flat(children));
  return node;
}

/** Say something to those who listen instead of look. */
export function announce(text) {
  document.getElementById("said").textContent = text;
}

let numbered = 0;

/** An id no other element has. */
export function newId(prefix = "e") {
  numbered += 1;
  return `${prefix}-${numbered}`;
}

function dress(node, given, children) {
  for (const [name, value] of Object.entries(given)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value") node.value = value;
    else if (name === "checked") node.checked = value;
    else if (name === "style") for (const [rule, how] of Object.entries(value)) node.style.setProperty(rule, how);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...flat(children));
  return node;
}

function flat(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}
