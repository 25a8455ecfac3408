// The three windows over the page: putting an answer right, the history, the settings.

import * as store from "./store.js";
import { say } from "./texts.js";

const $ = (id) => document.getElementById(id);
const FIRST = 8; // phrases that are shown at once: who steps through them with a switch should not step for long
const PAUSES_S = [1, 2, 4, 6];

for (const dialog of document.querySelectorAll("dialog")) {
  dialog.querySelector(".close").addEventListener("click", () => dialog.close());
}

function button(text, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.addEventListener("click", act);
  return made;
}

function listOf(buttons) {
  return buttons.map((each) => {
    const item = document.createElement("li");
    item.append(each);
    return item;
  });
}

// ── Put it right ─────────────────────────────────────────────────────────────
// `phrases` may still be on their way. `decide` is called with what was meant.
export function openFixing(heard, isKept, phrases, decide) {
  const dialog = $("fixing");
  const done = (text) => {
    dialog.close();
    decide(text);
  };
  $("fix-note").textContent = say(isKept ? "fix.saved_note" : "fix.local_note");
  $("fix-phrases").hidden = true;
  $("fix-input").value = heard;
  $("fix-form").onsubmit = (event) => {
    event.preventDefault();
    if ($("fix-input").value.trim()) done($("fix-input").value.trim());
  };
  dialog.showModal();
  phrases.then((known) => {
    const buttons = nearestFirst(known, heard).map((phrase) => button(phrase, () => done(phrase)));
    $("fix-phrases").hidden = !buttons.length;
    $("fix-list").replaceChildren(...listOf(buttons.slice(0, FIRST)));
    $("fix-more").hidden = buttons.length <= FIRST;
    $("fix-more").onclick = () => {
      $("fix-list").replaceChildren(...listOf(buttons));
      $("fix-more").hidden = true;
      buttons[FIRST].focus();
    };
  });
}

// Those that share the most characters with what was heard; equals stay in their order.
export function nearestFirst(phrases, heard) {
  const letters = new Set(heard);
  const alike = (phrase) => {
    const own = new Set(phrase);
    return (2 * [...own].filter((letter) => letters.has(letter)).length) / (own.size + letters.size || 1);
  };
  return phrases.filter((phrase) => phrase !== heard).sort((a, b) => alike(b) - alike(a));
}

// ── History ──────────────────────────────────────────────────────────────────
export function openHistory(show) {
  const entries = store.past();
  const buttons = entries.map((text) => {
    const made = button(text, () => {
      $("history").close();
      show(text);
    });
    made.lang = "zh-CN";
    made.setAttribute("aria-label", say("history.show", { text }));
    return made;
  });
  $("history-list").replaceChildren(...listOf(buttons));
  $("history-none").hidden = entries.length > 0;
  $("history-none").textContent = say(store.settings().history ? "history.none" : "history.off");
  $("clear").hidden = !entries.length;
  $("clear").onclick = () => {
    store.clearHistory();
    openHistory(show);
  };
  if (!$("history").open) $("history").showModal();
  else $("history").querySelector(".close").focus();
}

// ── Settings ─────────────────────────────────────────────────────────────────
export function openSettings(changed, forget) {
  const { silence, pause, speak, history } = store.settings();
  for (const [name, value] of Object.entries({ silence, speak, history })) {
    const box = $(`set-${name}`);
    box.checked = value;
    box.onchange = () => {
      store.change(name, box.checked);
      if (name === "history" && !box.checked) store.clearHistory();
      changed();
    };
  }
  $("set-pause").replaceChildren(...PAUSES_S.map((seconds) => pauseChoice(seconds, seconds === pause, changed)));
  $("forget").textContent = say("settings.forget");
  $("forget").onclick = () => {
    $("forget").textContent = say("settings.forget.sure"); // one tap too many is easily made
    $("forget").onclick = () => {
      $("settings").close();
      forget();
    };
  };
  $("settings").showModal();
}

function pauseChoice(seconds, isChosen, changed) {
  const label = document.createElement("label");
  const radio = document.createElement("input");
  Object.assign(radio, { type: "radio", name: "pause", checked: isChosen });
  radio.addEventListener("change", () => {
    store.change("pause", seconds);
    changed();
  });
  label.className = "choice";
  label.append(radio, say("settings.seconds", { seconds }));
  return label;
}
