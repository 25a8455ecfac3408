// The phone page: one large button. Tap, speak, tap; the text is shown, and spoken only when somebody asks for it.
//
// `phase` is what the button does now: "ready" → "opening" (the microphone) → "listening" → "working" → "ready", or
// "blocked" where recording is impossible. A recording stays until it was answered: nobody has to say it twice because
// the network was gone.

import { openFixing, openHistory, openSettings } from "./dialogs.js";
import { Recorder, available } from "./recorder.js";
import * as service from "./service.js";
import { NOBODY_S, Silence } from "./silence.js";
import * as speech from "./speech.js";
import * as store from "./store.js";
import { choose, other, say, sayAll, setTexts, tag } from "./texts.js";
import { draw, drawLevel } from "./view.js";

const $ = (id) => document.getElementById(id);
const TREMOR_MS = 600; // a second tap within this time was not meant
const SLOW_MS = 6000; // then it is said that somebody still waits
const hint = (key, facts) => ({ kind: "hint", key, facts });
const trouble = (name, facts) => ({ kind: "problem", key: `problem.${name}`, facts });

const state = { phase: "ready", shown: hint("welcome") };
let about; // what the service said of itself
let recorder = null;
let recording = null; // the last WAV, until it is answered
let stop = new AbortController(); // of the question that is under way
let lastTap = -Infinity;

function update(changes = {}) {
  Object.assign(state, changes);
  const { silence, pause } = store.settings();
  draw({ ...state, silencePause: silence ? pause : 0, canSend: recording !== null });
}

// ── The large button ─────────────────────────────────────────────────────────
function tap() {
  if (performance.now() - lastTap < TREMOR_MS) return;
  lastTap = performance.now();
  if (state.phase === "ready") listen();
  else if (state.phase === "listening") send(finish());
  else if (state.phase === "working") stop.abort();
}

async function listen() {
  stop.abort(); // of looking whether the service is there
  recording = null;
  speech.quiet();
  update({ phase: "opening", shown: hint("opening.hint") });
  const { silence, pause } = store.settings();
  const ear = silence ? new Silence(pause) : null;
  try {
    recorder = await Recorder.start((decibels, seconds) => heard(ear?.hear(decibels, seconds), decibels), interrupted);
  } catch (error) {
    update({ phase: "ready", shown: trouble(microphoneProblem(error)) });
    return;
  }
  update({ phase: "listening", shown: hint(silence ? "talk.hint.silence" : "talk.hint", { seconds: pause }) });
  if (document.hidden) interrupted();
}

function heard(verdict, decibels) {
  if (state.phase !== "listening") return;
  drawLevel(decibels);
  if (verdict === "nobody") {
    finish();
    update({ phase: "ready", shown: trouble("no_speech", { seconds: NOBODY_S }) });
  } else if (verdict === "over" || recorder.seconds > about.longest_s - 1) {
    send(finish());
  }
}

function finish() {
  const sound = recorder.finish();
  recorder = null;
  return sound;
}

// The phone rings, the screen is locked, another app comes to the front: half a sentence is not sent.
function interrupted() {
  if (state.phase !== "listening") return;
  finish();
  update({ phase: "ready", shown: trouble("interrupted") });
}

function microphoneProblem(error) {
  if (error.name === "NotAllowedError") return "mic_refused";
  return error.name === "NotFoundError" ? "mic_none" : "mic_busy";
}

// ── The question and the answer ──────────────────────────────────────────────
async function send(sound) {
  recording = sound;
  if (store.settings().speak) speech.prepare();
  stop = new AbortController();
  const slow = setTimeout(() => update({ shown: hint("slow") }), SLOW_MS);
  update({ phase: "working", shown: hint("working") });
  try {
    const answer = await service.transcribe(sound, stop.signal, (why, seconds) => {
      clearTimeout(slow);
      update({ shown: hint(why, { seconds }) });
    });
    recording = null;
    show(answer);
  } catch (error) {
    failed(error);
  } finally {
    clearTimeout(slow);
  }
}

const SAY_IT_AGAIN = ["silent", "too_long", "refused"]; // the same recording would get the same answer

function failed(error) {
  if (!(error instanceof service.Problem)) throw error;
  if (SAY_IT_AGAIN.includes(error.problem)) recording = null;
  const isCancelled = error.problem === "cancelled";
  update({ phase: "ready", shown: isCancelled ? hint("cancelled") : trouble(error.problem, error.facts) });
}

function show({ text, uncertain, id }) {
  if (!text) {
    update({ phase: "ready", shown: trouble("nothing") });
    return;
  }
  store.remember(text);
  update({ phase: "ready", shown: { kind: "answer", text, uncertain, id, state: "sure" } });
  if (store.settings().speak && !uncertain) speak();
}

function speak() {
  const isSpoken = speech.speak(state.shown.text);
  update({ shown: { ...state.shown, note: isSpoken ? null : { key: "problem.no_voice" } } });
}

function confirm() {
  update({ shown: { ...state.shown, uncertain: false, state: "confirmed" } });
  if (store.settings().speak) speak();
  $("speak").focus();
}

function fix() {
  const { text, id } = state.shown;
  openFixing(text, Boolean(id), service.phrases(new AbortController().signal), async (meant) => {
    store.rewrite(text, meant);
    const fixed = { kind: "answer", text: meant, uncertain: false, id: null, state: "corrected" };
    update({ shown: { ...fixed, note: id ? null : { key: "fix.local" } } });
    $("speak").focus();
    if (!id) return;
    const note = await kept(id, meant);
    if (state.shown.text === meant) update({ shown: { ...state.shown, note } });
  });
}

async function kept(id, meant) {
  try {
    await service.correct(id, meant, new AbortController().signal);
    return { key: "fix.saved" };
  } catch (error) {
    if (error.problem === "late") return { key: "fix.late" };
    return { key: "fix.unsent", facts: { why: say(`problem.${error.problem}`, error.facts) } };
  }
}

// ── Whether anything can be said at all ──────────────────────────────────────
const isWeChat = /MicroMessenger/i.test(navigator.userAgent);

function obstacle() {
  if (isWeChat) return "wechat"; // the key stays in the address: "open in browser" takes it along
  if (!window.isSecureContext) return "insecure";
  if (!available()) return "old";
  return store.key() ? "" : "no_key";
}

async function begin() {
  const why = obstacle();
  if (why) {
    update({ phase: "blocked", shown: trouble(why) });
    return;
  }
  update({ phase: "ready", shown: hint("welcome") });
  const mine = (stop = new AbortController());
  const tell = (shown) => stop === mine && state.phase === "ready" && update({ shown });
  try {
    await service.checkKey(mine.signal, (why, seconds) => tell(hint(why, { seconds })));
    tell(hint("welcome"));
  } catch (error) {
    const isGone = ["unreachable", "timeout"].includes(error.problem);
    if (error.problem === "key") update({ phase: "blocked", shown: trouble("key") });
    else if (error.problem !== "cancelled")
      tell({ ...trouble(isGone ? "offline" : error.problem, error.facts), canCheck: true });
  }
}

function forget() {
  stop.abort();
  store.forgetAll();
  recording = null;
  applyLanguage();
  update({ phase: "blocked", shown: hint("forgotten") });
}

function applyLanguage(wanted = store.settings().language) {
  choose(wanted);
  sayAll();
  $("language").textContent = say("language");
  $("language").lang = tag(other());
  $("language").setAttribute("aria-label", say("language.label"));
}

function listenToEverything() {
  $("talk").addEventListener("click", tap);
  $("talk").addEventListener("keydown", (event) => event.repeat && event.preventDefault()); // a key that is held down
  $("yes").addEventListener("click", confirm);
  $("no").addEventListener("click", fix);
  $("speak").addEventListener("click", speak);
  $("fix").addEventListener("click", fix);
  $("again").addEventListener("click", () => send(recording));
  $("check").addEventListener("click", begin);
  $("open-history").addEventListener("click", () => openHistory(showAgain));
  $("open-settings").addEventListener("click", () => openSettings(update, forget));
  $("language").addEventListener("click", () => {
    store.change("language", other());
    applyLanguage();
    update();
  });
  document.addEventListener("visibilitychange", () => document.hidden && interrupted());
  window.addEventListener("hashchange", () => {
    if (!isWeChat) store.takeKeyFromAddress(); // another QR code, scanned while the page is open
    begin();
  });
}

function showAgain(text) {
  if (state.phase === "ready") update({ shown: { kind: "answer", text, uncertain: false, id: null, state: "sure" } });
}

async function start() {
  if (!isWeChat) store.takeKeyFromAddress();
  about = await (await fetch(new URL("page/about.json", document.baseURI))).json();
  setTexts(about.texts);
  applyLanguage();
  listenToEverything();
  $("practice").hidden = !about.practice;
  $("starting").hidden = true;
  $("page").hidden = false;
  $("talk").focus();
  begin();
}

start();
