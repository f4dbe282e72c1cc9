// Parts that several pages are made of: problems, empty states, tables, tiles, lists that go on.

import {get, isAbort} from "./api.js";
import {el, fill} from "./element.js";

/** A problem as the service says it, in its own sentence, with the field it is about. */
export function showProblem(error) {
  const where = error.field ? el("p", {class: "quiet"}, "Field: ", el("code", {}, error.field)) : null;
  const needsKey = error.status === 401;
  return el("div", {class: "problem", role: "alert"}, el("p", {}, error.message), where,
    needsKey ? el("p", {}, el("button", {type: "button", onclick: () => document.getElementById("key").click()}, "Enter a key")) : null);
}

/** Nothing is there yet: says what to do, with the command to type. */
export function emptyState(title, does, command, ...more) {
  return el("div", {class: "empty"},
    el("h2", {}, title), el("p", {}, does),
    command ? el("pre", {tabindex: 0, "aria-label": "The command to type"}, command) : null,
    more.length ? el("p", {}, more) : null);
}

/** The head of a page: what kind it is, its name, and what it says in a sentence. */
export function heading(eyebrow, title, ...lead) {
  return el("div", {class: "heading"},
    eyebrow ? el("p", {class: "eyebrow"}, eyebrow) : null,
    el("h1", {}, title),
    lead.length ? el("p", {class: "lead"}, lead) : null);
}

export const section = (title, ...content) => el("section", {}, el("h2", {}, title), content);

/** Numbers that say most, in tiles: [name, value, note]. */
export function tiles(label, items) {
  return el("dl", {class: "tiles", "aria-label": label},
    items.map(([name, value, note]) => el("div", {}, el("dt", {}, name), el("dd", {}, el("b", {}, value), el("span", {}, note ?? "")))));
}

/** Names and values, side by side. */
export function facts(pairs, {isWide = false} = {}) {
  return el("dl", {class: isWide ? "facts wide" : "facts"}, pairs.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

/** A table whose first column names its rows; it scrolls by itself when narrow. Cells are text or nodes. */
export function table(caption, columns, rows) {
  return scrolling(caption, el("table", {},
    el("caption", {}, caption),
    el("thead", {}, el("tr", {}, columns.map((column) => el("th", {scope: "col"}, column)))),
    el("tbody", {}, rows.map((cells) => el("tr", {}, cells.map((cell, n) => (n ? el("td", {}, cell) : el("th", {scope: "row"}, cell))))))));
}

export function scrolling(caption, content) {
  return el("div", {class: "scroll", role: "region", "aria-label": caption, tabindex: 0}, content);
}

/** A list that is shown a page at a time, the next one by a button. `show` makes the items of a page; `empty` is for none. */
export async function listing(path, {limit = 50, signal, show, empty, into = el("div")}) {
  const more = el("p", {class: "more"});
  const load = async (token) => {
    const page = await get(`${path}?limit=${limit}${token ? `&page_token=${encodeURIComponent(token)}` : ""}`, signal);
    const made = await show(page.items, {isFirst: !token});
    if (made) into.append(...[made].flat());
    fill(more, page.next_page_token === null ? null : button(page.next_page_token));
    return page.items.length;
  };
  const button = (token) => {
    const node = el("button", {type: "button", class: "plain", onclick: async () => {
      node.disabled = true;
      try {
        await load(token);
      } catch (error) {
        if (!isAbort(error)) fill(more, showProblem(error), button(token));
      }
    }}, "Show more");
    return node;
  };
  const found = await load(null);
  return found || !empty ? el("div", {}, into, more) : empty;
}
