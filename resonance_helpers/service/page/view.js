// Draws what `page.js` knows: `phase` is what the large button does, `shown` what stands above it.

import { say } from "./texts.js";

const $ = (id) => document.getElementById(id);
const CHOICES = ["yes", "no", "speak", "fix", "again", "check"];

// shown.kind: "hint" (a sentence), "problem" (what is wrong), "answer" (what was heard, as large as fits).
export function draw({ phase, shown, silencePause, canSend }) {
  const isAnswer = shown.kind === "answer";
  const state = isAnswer ? (shown.uncertain ? "uncertain" : shown.state) : shown.kind;
  document.body.dataset.phase = phase;
  $("said").dataset.state = state;
  setHidden("mark", !isAnswer);
  if (isAnswer) {
    $("icon").textContent = shown.uncertain ? "?" : "✓";
    $("mark-text").textContent = say(state);
  }
  setText("text", isAnswer ? shown.text : say(shown.key, shown.facts));
  $("text").lang = isAnswer ? "zh-CN" : document.documentElement.lang;
  const note = isAnswer && shown.note;
  setHidden("note", !note);
  setText("note", note ? say(note.key, note.facts) : "");
  const offered = choices(phase, shown, canSend);
  for (const id of CHOICES) setHidden(id, !offered.includes(id));
  drawTalk(phase, silencePause);
}

function choices(phase, shown, canSend) {
  if (phase !== "ready" && phase !== "blocked") return [];
  if (shown.kind === "answer") return shown.uncertain ? ["yes", "no"] : ["speak", "fix"];
  return [canSend && "again", shown.canCheck && "check"];
}

function drawTalk(phase, silencePause) {
  const isSilence = phase === "ready" && silencePause;
  const name = phase === "ready" ? "talk" : phase;
  setText("talk-text", say(name));
  setText("talk-hint", isSilence ? say("talk.hint.silence", { seconds: silencePause }) : say(`${name}.hint`));
  $("talk").setAttribute("aria-disabled", phase === "blocked" || phase === "opening");
  if (phase !== "listening") drawLevel(-100);
}

// How loud it is now, as the ring around the microphone.
export function drawLevel(decibels) {
  const share = Math.max(0, Math.min(1, (decibels + 60) / 50));
  $("talk").style.setProperty("--level", share.toFixed(2));
}

// The same words again are no news: what a screen reader would say twice stays untouched.
function setText(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

function setHidden(id, hidden) {
  $(id).hidden = hidden;
}
