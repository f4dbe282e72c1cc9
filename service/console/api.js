// The API as the console asks it: with the key of this tab, if one was entered, and with errors as their own sentences.

const KEY = "transferset-key"; // in sessionStorage: gone with the tab, never sent anywhere but here

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (secret) => (secret ? sessionStorage.setItem(KEY, secret) : sessionStorage.removeItem(KEY)),
};

/** What the service refused, as a problem document says it. */
export class Problem extends Error {
  constructor(status, said = {}) {
    super(said.detail || `The service, or what stands before it, answered ${status}.`);
    this.status = status;
    this.field = said.field ?? null;
    this.faults = (said.errors ?? []).map(({field, detail}) => ({field, detail}));
  }
}

/** Ask, and have the response; a Problem when it is none that says yes. */
export async function ask(method, path, {body, headers = {}, signal} = {}) {
  const sent = {...headers};
  if (key.get()) sent.Authorization = `Bearer ${key.get()}`;
  const isForm = body instanceof FormData;
  if (body !== undefined && !isForm) sent["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {method, headers: sent, body: isForm ? body : JSON.stringify(body), signal});
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, {detail: "The service does not answer. Is transferset serve still running, and the network up?"});
  }
  if (!response.ok) {
    const problem = new Problem(response.status, await response.json().catch(() => ({})));
    if (problem.status === 401) window.dispatchEvent(new CustomEvent("key-needed", {detail: problem.message}));
    throw problem;
  }
  return response;
}

export const get = async (path, signal) => (await ask("GET", path, {signal})).json();
export const post = async (path, body, {headers, signal} = {}) => (await ask("POST", path, {body, headers, signal})).json();

/** The names that a list begins with, at most 200: what a form offers. */
export async function firstItems(path, signal) {
  const page = await get(`${path}?limit=200`, signal);
  return {items: page.items, isAll: page.next_page_token === null};
}

/** Do something with each item, four at a time; an item that fails is its error. */
export async function each(items, act) {
  const made = new Array(items.length);
  let next = 0;
  const work = async () => {
    while (next < items.length) {
      const mine = next;
      next += 1;
      made[mine] = await act(items[mine]).catch((error) => error);
    }
  };
  await Promise.all([work(), work(), work(), work()]);
  return made;
}

/** Have a file saved. A link cannot carry a key, so with one the file passes through this tab. */
export async function save(path, filename) {
  const link = document.createElement("a");
  link.download = filename;
  if (!key.get()) {
    link.href = path;
    link.click();
    return;
  }
  const content = await (await ask("GET", path)).blob();
  link.href = URL.createObjectURL(content);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** A key under which an order that is sent twice is one order. */
export function newIdempotencyKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export const isAbort = (error) => error?.name === "AbortError";
