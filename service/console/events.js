// Events of a job, read from a stream by fetch: EventSource cannot send a key. A stream that breaks is taken up again
// by Last-Event-ID; one that is refused is left to polling, which is always enough.

import {Problem, ask, isAbort} from "./api.js";

const LONGEST_WAIT_MS = 15_000;

/** Tell `heard` of the job's events until it has ended -> whether it was followed to its end. */
export async function follow(job, heard, signal, {wait = pause} = {}) {
  let last = null;
  let patience = 500;
  while (!signal.aborted) {
    try {
      const headers = {Accept: "text/event-stream", ...(last === null ? {} : {"Last-Event-ID": last})};
      const response = await ask("GET", `v1/jobs/${encodeURIComponent(job)}/events`, {headers, signal});
      if (response.status === 204) return true;
      for await (const event of readEvents(response.body)) {
        last = event.id ?? last;
        patience = 500;
        heard(event.name, event.data);
        if (event.name === "end") return true;
      }
    } catch (error) {
      if (isAbort(error)) return false;
      if (error instanceof Problem && error.status !== 0 && error.status < 500) return false;
    }
    await wait(patience, signal);
    patience = Math.min(2 * patience, LONGEST_WAIT_MS);
  }
  return false;
}

/** The events of a stream of bytes: {name, id, data}. Comments, which keep it open, are passed over. */
export async function* readEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  try {
    while (true) {
      const {value, done} = await reader.read();
      if (done) return;
      const blocks = (waiting + value).replaceAll("\r\n", "\n").split("\n\n");
      waiting = blocks.pop();
      for (const block of blocks) {
        const event = readEvent(block);
        if (event !== null) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Wait, or less when told to stop. */
export function pause(ms, signal) {
  return new Promise((done) => {
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", () => (clearTimeout(timer), done()), {once: true});
  });
}

function readEvent(block) {
  const event = {name: "message", id: null, data: ""};
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    const [field, value] = [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, "")];
    if (field === "event") event.name = value;
    else if (field === "id") event.id = value;
    else if (field === "data") event.data += value;
  }
  return event.data ? {...event, data: JSON.parse(event.data)} : null;
}
