// Questions to the service, and in which way one failed. Everything goes to where the page came from, to nobody else.

import { language } from "./texts.js";
import { key } from "./store.js";

export const TIMEOUT_S = 60; // for one attempt: the upload, the queue and the answer
const CALM_S = 300; // of waiting for a model to load, then somebody should look
const TRIES_WHEN_BUSY = 4;

// A question that got no good answer. `problem` names the page's sentence ("problem.<it>"), with `facts`.
export class Problem extends Error {
  constructor(problem, facts = {}) {
    super(problem);
    this.problem = problem;
    this.facts = facts;
  }
}

export const checkKey = (stop, onWait) => patiently((signal) => ask("readyz", {}, signal), stop, onWait);

export async function transcribe(recording, stop, onWait) {
  const form = new FormData();
  form.append("file", recording, "recording.wav");
  const response = await patiently((signal) => ask("transcribe", { method: "POST", body: form }, signal), stop, onWait);
  const { text, uncertain } = await json(response);
  if (typeof text !== "string") throw new Problem("not_ours");
  return { text, uncertain: uncertain !== false, id: response.headers.get("Resonance-Answer") };
}

// The patient's own phrases; none where corrections are off or not agreed to.
export async function phrases(stop) {
  try {
    return (await json(await ask("phrases", {}, stop))).phrases;
  } catch {
    return [];
  }
}

export function correct(id, text, stop) {
  return ask("corrections", { method: "POST", body: new URLSearchParams({ answer: id, text }) }, stop);
}

// ── How it is asked ──────────────────────────────────────────────────────────
async function ask(path, options, stop) {
  const attempt = new AbortController(); // AbortSignal.any would do, on newer phones
  const giveUp = () => attempt.abort();
  const timer = setTimeout(giveUp, 1000 * TIMEOUT_S);
  stop.addEventListener("abort", giveUp);
  let response;
  try {
    response = await fetch(new URL(path, document.baseURI), {
      ...options,
      headers: { Authorization: `Bearer ${key()}`, "Accept-Language": language },
      credentials: "omit",
      redirect: "error",
      signal: attempt.signal,
    });
  } catch {
    if (stop.aborted) throw new Problem("cancelled");
    throw attempt.signal.aborted ? new Problem("timeout", { seconds: TIMEOUT_S }) : new Problem("unreachable");
  } finally {
    clearTimeout(timer);
    stop.removeEventListener("abort", giveUp);
  }
  if (!response.ok) throw await problemOf(response);
  return response;
}

// Asks again by itself while the model is loading or others are before us; `onWait` is told why and how long.
async function patiently(question, stop, onWait) {
  const since = Date.now();
  for (let busy = 1; ; ) {
    try {
      return await question(stop);
    } catch (error) {
      const late = error.problem === "loading" ? Date.now() - since > 1000 * CALM_S : busy++ >= TRIES_WHEN_BUSY;
      if (!error.wait || late) throw error;
      onWait(error.problem === "loading" ? "loading" : "queue", error.wait);
      await pause(error.wait, stop);
    }
  }
}

function pause(seconds, stop) {
  return new Promise((resolve, reject) => {
    const cancelled = () => {
      clearTimeout(timer);
      reject(new Problem("cancelled"));
    };
    const timer = setTimeout(() => {
      stop.removeEventListener("abort", cancelled);
      resolve();
    }, 1000 * seconds);
    stop.addEventListener("abort", cancelled, { once: true });
  });
}

async function json(response) {
  try {
    return await response.json();
  } catch {
    throw new Problem("not_ours");
  }
}

// ── What an error means to whoever holds the phone ───────────────────────────
const BY_CODE = {
  "RZ-0501": "silent",
  "RZ-0907": "silent",
  "RZ-0904": "whose",
  "RZ-0905": "whose",
  "RZ-0909": "failed",
  "RZ-0914": "busy",
  "RZ-0916": "late",
  "RZ-0917": "late",
};
const BY_STATUS = { 401: "key", 408: "timeout", 413: "too_long", 429: "busy", 500: "failed", 502: "unreachable" };

async function problemOf(response) {
  const { code, detail } = await response.json().catch(() => ({}));
  if (response.status === 503 && code === undefined) return new Problem("unreachable"); // a proxy's own words
  const name = BY_CODE[code] ?? BY_STATUS[response.status] ?? (response.status === 503 ? "loading" : undefined);
  if (name === undefined) return detail ? new Problem("refused", { detail }) : new Problem("not_ours");
  const problem = new Problem(name, { seconds: TIMEOUT_S });
  if (name === "loading" || name === "busy") problem.wait = Number(response.headers.get("Retry-After")) || 5;
  return problem;
}
