// The console: which page an address shows, and what surrounds the pages.

import {Problem, get, isAbort} from "./api.js";
import {announce, el, fill} from "./element.js";
import {setUpKey} from "./key.js";
import {showProblem} from "./parts.js";
import {jobsPage} from "./jobs.js";
import {orderRunPage, orderSetPage} from "./orders.js";
import {runPage} from "./run.js";
import {runsPage} from "./runs.js";
import {setPage} from "./set.js";
import {setsPage} from "./sets.js";
import {tasksPage} from "./tasks.js";
import {tryPage} from "./try.js";

const PAGES = [
  [/^$/, tryPage],
  [/^sets$/, setsPage],
  [/^sets\/new$/, orderSetPage],
  [/^sets\/of\/(.+)$/, setPage],
  [/^runs$/, runsPage],
  [/^runs\/new$/, orderRunPage],
  [/^runs\/of\/(.+)$/, runPage],
  [/^jobs$/, jobsPage],
  [/^tasks$/, tasksPage],
];

const main = document.getElementById("main");
let leaving = new AbortController();

/** Show the page of the address. A page gets a signal that ends with it, and gives back what it shows. */
async function show({isFirst = false} = {}) {
  leaving.abort();
  leaving = new AbortController();
  const {signal} = leaving;
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [page, name] = find(path);
  mark(path);
  main.setAttribute("aria-busy", "true");
  try {
    const content = await page({name, signal, query: new URLSearchParams(query ?? "")});
    if (signal.aborted) return;
    fill(main, content);
  } catch (error) {
    if (isAbort(error) || signal.aborted) return;
    if (!(error instanceof Problem)) console.error(error);
    fill(main, el("h1", {}, "Not now"), showProblem(error), again());
  }
  settle(isFirst);
}

function find(path) {
  for (const [pattern, page] of PAGES) {
    const found = pattern.exec(path);
    if (found) return [page, found[1] === undefined ? null : readName(found[1])];
  }
  return [lostPage, null];
}

function readName(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

async function lostPage() {
  return [el("h1", {}, "Nothing here"), el("p", {}, "There is no such page. ", el("a", {href: "#/"}, "Try some utterances"), " instead.")];
}

function again() {
  return el("p", {}, el("button", {type: "button", onclick: () => show()}, "Try again"));
}

/** Say where we are: in the bar, in the title, and to a keyboard or a screen reader, which begin at the heading. */
function mark(path) {
  const section = path.split("/")[0];
  for (const link of document.querySelectorAll("nav a")) {
    const isHere = link.getAttribute("href").replace("#/", "") === section;
    if (isHere) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function settle(isFirst) {
  main.removeAttribute("aria-busy");
  main.dataset.shown = location.hash;
  const heading = main.querySelector("h1");
  document.title = heading ? `${heading.textContent} · Transferset` : "Transferset";
  if (isFirst || !heading) return;
  heading.tabIndex = -1;
  heading.focus({preventScroll: true});
  window.scrollTo(0, 0);
  announce(heading.textContent);
}

async function sayHealth() {
  const health = document.getElementById("health");
  try {
    await get("readyz");
    fill(health, el("i", {class: "light kept", "aria-hidden": "true"}), "ready");
  } catch (error) {
    fill(health, el("i", {class: "light dropped", "aria-hidden": "true"}), error.message);
  }
}

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address is the page's
  main.focus();
});
setUpKey(document.getElementById("key"), () => show({isFirst: true}));
window.addEventListener("hashchange", () => show());
show({isFirst: true});
sayHealth();
setInterval(() => document.hidden || sayHealth(), 30_000);
