// The recorder of lesson 04. The whole panel is one button, for people who tire and cannot press small ones: any key,
// a switch or a tap begins a take, and the next one ends it. The kernel decides what is kept and which phrase is next.

const DEBOUNCE_MS = 600; // a hand that trembles presses twice
const RATE = 16000; // Hz
const PROMPT_MS = 8000; // a browser without a voice never says that it has ended
const QUIET_MS = 300; // between the prompt or the beep and the take: neither may be in it
const WAIT_S = 12; // hands-free: for the first sound
const KEPT_TAIL_S = 0.5; // hands-free: of the silence that ended the take
const ON_THE_WAY_MS = 250;
const ANSWER_MS = 20000;
const LEFT_TO_THE_BROWSER = new Set(["Tab", "Shift", "Control", "Alt", "Meta", "CapsLock", "F5", "F11", "F12"]);

const WORKLET = `registerProcessor("take", class extends AudioWorkletProcessor {
  process(inputs) {
    if (inputs[0].length) this.port.postMessage(inputs[0][0].slice());
    return true;
  }
})`;

// ── The microphone ──────────────────────────────────────────────────────────
class Microphone {
  constructor(onBlock, onLost) {
    this.onBlock = onBlock;
    this.onLost = onLost;
  }

  get open() {
    return Boolean(this.stream?.active);
  }

  async start() {
    if (this.open) return;
    const wanted = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    this.stream = await navigator.mediaDevices.getUserMedia({ audio: wanted });
    this.context = new AudioContext({ sampleRate: RATE });
    try {
      this.source = this.context.createMediaStreamSource(this.stream);
    } catch {
      await this.context.close(); // a browser that can't resample a microphone: the kernel does
      this.context = new AudioContext();
      this.source = this.context.createMediaStreamSource(this.stream);
    }
    const module = URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" }));
    await this.context.audioWorklet.addModule(module);
    URL.revokeObjectURL(module);
    const node = new AudioWorkletNode(this.context, "take");
    node.port.onmessage = (event) => this.onBlock(event.data);
    this.source.connect(node);
    this.stream.getTracks()[0].onended = this.onLost; // unplugged
    await this.context.resume();
  }

  get rate() {
    return this.context.sampleRate;
  }

  beep() {
    const tone = this.context.createOscillator();
    const volume = this.context.createGain();
    volume.gain.value = 0.2;
    tone.frequency.value = 880;
    tone.connect(volume).connect(this.context.destination);
    tone.start();
    tone.stop(this.context.currentTime + 0.15);
    return new Promise((done) => (tone.onended = done));
  }

  async stop() {
    const { stream, context } = this;
    this.stream = this.context = undefined; // at once: while the old one closes, somebody may open a new one
    stream?.getTracks().forEach((track) => track.stop());
    await context?.close();
  }
}

function trouble(error, texts) {
  if (["NotAllowedError", "SecurityError"].includes(error.name)) return texts.refused;
  if (["NotFoundError", "OverconstrainedError"].includes(error.name)) return texts.missing;
  return texts.busy.replace("{reason}", error.name || String(error));
}

// ── A take while it is recorded ─────────────────────────────────────────────
class Take {
  constructor(rate, silenceS) {
    this.rate = rate;
    this.silence = silenceS * rate; // Infinity when a press ends it
    this.blocks = [];
    this.length = this.lastSound = 0;
    this.floor = 1;
    this.heard = false;
  }

  add(block) {
    this.blocks.push(block);
    this.length += block.length;
    const level = Math.sqrt(block.reduce((sum, x) => sum + x * x, 0) / block.length);
    this.floor = Math.min(this.floor * 1.001 + 1e-7, Math.max(level, 1e-4)); // falls at once, rises slowly
    if (level > Math.max(0.006, 4 * this.floor)) {
      this.heard = this.length > 0.1 * this.rate;
      this.lastSound = this.length;
    }
    return level;
  }

  get ended() {
    return this.heard && this.length - this.lastSound > this.silence;
  }

  get nothing() {
    return this.silence !== Infinity && !this.heard && this.length > WAIT_S * this.rate;
  }

  samples() {
    const tail = this.silence === Infinity ? Infinity : this.lastSound + KEPT_TAIL_S * this.rate;
    const all = new Int16Array(Math.min(this.length, Math.round(tail)));
    let at = 0;
    for (const block of this.blocks) {
      for (const x of block) {
        if (at < all.length) all[at++] = Math.max(-32768, Math.min(32767, Math.round(x * 32768)));
      }
    }
    return all;
  }
}

// ── The screen ──────────────────────────────────────────────────────────────
function element(tag, className, parent, attributes = {}) {
  const node = document.createElement(tag);
  node.className = className;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  parent.append(node);
  return node;
}

function build(el, texts) {
  // JupyterLab would take every key for a command of its own
  const root = element("div", "rz-recorder", el, { "data-lm-suppress-shortcuts": "true" });
  const progress = element("p", "rz-progress", root);
  const panel = element("div", "rz-panel", root, { role: "button", tabindex: "0", "aria-label": texts.panel });
  const view = { root, progress, panel, buttons: {} };
  for (const part of ["title", "picture", "phrase", "hint"]) view[part] = element("div", `rz-${part}`, panel);
  view.picture.setAttribute("aria-hidden", "true");
  view.meter = element("meter", "rz-meter", root, { min: "0", max: "1", value: "0", "aria-label": texts.level });
  view.news = element("div", "rz-news", root, { role: "status", "aria-live": "polite" });
  const row = element("div", "rz-buttons", root);
  for (const name of ["play", "redo", "previous", "next", "skip", "large", "stop"]) {
    view.buttons[name] = element("button", `rz-button rz-${name}`, row, { type: "button" });
    view.buttons[name].textContent = texts[name];
  }
  const choices = element("div", "rz-choices", root);
  for (const name of ["hands_free", "spoken"]) {
    const label = element("label", "", choices);
    view[name] = element("input", "", label, { type: "checkbox" });
    label.append(` ${texts[name]}`);
  }
  const label = element("label", "", choices);
  label.append(`${texts.silence} `);
  view.silence_s = element("input", "", label, { type: "range", min: "2", max: "6", step: "0.5" });
  view.seconds = element("output", "", label);
  return view;
}

// A voice of this computer: others send the phrase to a company that speaks it.
const ownVoice = () => window.speechSynthesis?.getVoices().find((voice) => voice.localService && /^zh/i.test(voice.lang));

async function say(phrase) {
  const words = new SpeechSynthesisUtterance(phrase);
  words.voice = ownVoice();
  words.lang = "zh-CN";
  words.rate = 0.85;
  await new Promise((done) => {
    words.onend = words.onerror = done;
    setTimeout(done, PROMPT_MS); // cancels nothing itself: by then it may be the next phrase that is spoken
    speechSynthesis.speak(words);
  });
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// ── One recorder on the page ────────────────────────────────────────────────
// ``mode`` is what a press means now: idle → asking → prompting → recording → ending → saving → idle; playing; stopped;
// lost, until the kernel answers: what is recorded before could become a take of another phrase.
class Recorder {
  constructor(model, el) {
    this.model = model;
    this.texts = model.get("texts");
    this.view = build(el, this.texts);
    this.mode = "idle";
    this.change = 0; // which of all modes this is: what waited for something looks whether it is still the same
    this.lastPress = -DEBOUNCE_MS;
    this.microphone = new Microphone((block) => this.hear(block), () => this.unplugged());
    this.redraw = () => this.show();
    this.listen();
    this.show();
  }

  get state() {
    return this.model.get("state");
  }

  listen() {
    const { panel, buttons, root } = this.view;
    panel.addEventListener("click", () => this.press());
    panel.addEventListener("keydown", (event) => {
      if (LEFT_TO_THE_BROWSER.has(event.key) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      if (event.key === "Escape") this.stop();
      else if (!event.repeat) this.press();
    });
    root.addEventListener("keydown", (event) => event.stopPropagation());
    this.onButton("play", () => this.ask("play", "playing"));
    this.onButton("redo", () => this.record(true));
    for (const name of ["previous", "next", "skip"]) this.onButton(name, () => this.ask(name));
    this.onButton("stop", () => this.stop());
    buttons.large.onclick = () => (document.fullscreenElement ? document.exitFullscreen() : root.requestFullscreen());
    for (const name of ["hands_free", "spoken"]) {
      this.view[name].onchange = () => this.set(name, this.view[name].checked);
    }
    this.view.silence_s.oninput = () => this.set("silence_s", Number(this.view.silence_s.value));
    this.model.on("change:state", () => this.answered());
    this.model.on("change:hands_free change:spoken change:silence_s", this.redraw);
    window.speechSynthesis?.addEventListener?.("voiceschanged", this.redraw); // browsers find theirs after a while
    this.model.on("msg:custom", (message, buffers) => this.play(message, buffers[0]));
  }

  set(name, value) {
    this.model.set(name, value);
    this.model.save_changes();
    this.show();
  }

  onButton(name, act) {
    this.view.buttons[name].onclick = () => {
      if (!this.trembled()) act();
      this.view.panel.focus({ preventScroll: true }); // where the next key is meant to go
    };
  }

  // ── What a press means ──
  trembled() {
    const before = this.lastPress;
    this.lastPress = performance.now();
    return this.lastPress - before < DEBOUNCE_MS;
  }

  press() {
    if (this.trembled()) return;
    if (this.mode === "recording") this.end();
    else if (this.mode === "stopped") this.become(this.asking ? "asking" : "idle");
    else if (this.mode === "idle") this.goOn();
  }

  goOn() {
    const { stage, mark } = this.state;
    if (mark === "saved") this.ask("next");
    else if (stage === "rest") this.ask("rested"); // then the phrase is on the screen before its take
    else if (stage === "phrase") this.record();
  }

  // ── Recording ──
  async record(redo = false) {
    if (this.mode !== "idle") return;
    if (!window.isSecureContext || !navigator.mediaDevices) return this.tell(this.texts.insecure);
    this.redo = redo;
    this.become("asking");
    if (this.asking) return; // of a press before: the browser asks once
    this.asking = true; // also when somebody stops, until the browser has its answer
    try {
      await this.microphone.start();
    } catch (error) {
      await this.microphone.stop();
      if (this.mode !== "asking") return;
      this.become("idle");
      return this.tell(trouble(error, this.texts));
    } finally {
      this.asking = false;
    }
    if (this.mode !== "asking") return this.microphone.stop(); // stopped while the browser asked
    this.become("prompting");
    const mine = this.change;
    if (this.model.get("spoken") && ownVoice()) {
      await say(this.state.phrase);
      if (this.change !== mine) return; // stopped meanwhile, and perhaps it is the next prompt by now
      speechSynthesis.cancel(); // whatever is still spoken would be in the take
    }
    if (this.model.get("hands_free")) await this.microphone.beep();
    if (this.model.get("spoken") || this.model.get("hands_free")) await pause(QUIET_MS);
    if (this.change !== mine) return;
    this.take = new Take(this.microphone.rate, this.model.get("hands_free") ? this.model.get("silence_s") : Infinity);
    this.become("recording");
  }

  hear(block) {
    if (this.mode === "ending") this.take.add(block);
    if (this.mode !== "recording") return;
    const level = this.take.add(block);
    this.view.meter.value = Math.max(level * 4, this.view.meter.value * 0.9);
    if (this.take.length >= this.state.longest_s * this.take.rate) this.send(true);
    else if (this.take.ended) this.send();
    else if (this.take.nothing) {
      this.become("idle");
      this.tell(this.texts.nothing_heard);
    }
  }

  // What was spoken until now may still be on its way from the microphone.
  end() {
    this.become("ending");
    this.after(ON_THE_WAY_MS, () => this.send());
  }

  unplugged() {
    this.quiet();
    if (!["saving", "lost", "stopped"].includes(this.mode)) this.become("idle");
    this.tell(this.texts.missing);
  }

  send(full = false) {
    const { turn } = this.state;
    const { redo, take } = this;
    this.become("saving");
    this.expectAnswer();
    const day = new Date().toLocaleDateString("sv"); // here, as 2026-11-23; the kernel may be in another country
    this.model.send({ type: "take", turn, day, rate: take.rate, redo, full }, undefined, [take.samples().buffer]);
  }

  ask(type, mode = "saving") {
    if (this.mode !== "idle" && this.mode !== "stopped") return;
    this.become(mode);
    this.expectAnswer();
    this.model.send({ type, turn: this.state.turn });
  }

  expectAnswer() {
    this.after(ANSWER_MS, () => {
      this.quiet();
      this.become("lost");
      this.tell(this.texts.lost);
    });
  }

  // ── What the kernel says ──
  answered() {
    if (this.state.news.length) this.view.news.replaceChildren(); // the same once more is said once more
    const alone = this.model.get("hands_free") && ["saving", "lost"].includes(this.mode);
    if (this.mode === "stopped") return this.show();
    this.silence(); // another page may have gone on while this one spoke or played
    this.become("idle");
    const { stage, mark } = this.state;
    if (!alone || stage !== "phrase" || mark === "error") return; // a rest lasts until somebody presses
    this.after(mark === "retry" ? 4000 : mark ? 1500 : 600, () => this.model.get("hands_free") && this.goOn());
  }

  async play({ type, rate }, bytes) {
    if (type !== "sound") return;
    if (!["playing", "lost"].includes(this.mode)) return; // stopped meanwhile
    this.become("playing");
    this.silence(); // a sound that was asked for before
    const mine = this.change;
    const samples = new Int16Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
    const context = (this.player = new AudioContext());
    const clip = context.createBuffer(1, samples.length, rate);
    clip.copyToChannel(Float32Array.from(samples, (x) => x / 32768), 0);
    const source = context.createBufferSource();
    source.buffer = clip;
    source.connect(context.destination);
    source.onended = () => {
      if (this.change !== mine) return;
      this.silence();
      this.become("idle");
    };
    this.view.root.dataset.played = clip.duration.toFixed(2);
    source.start();
  }

  stop() {
    if (["saving", "ending", "lost"].includes(this.mode)) return;
    this.quiet();
    this.become("stopped");
  }

  // Nothing is spoken or played any more: it would be in the next take.
  silence() {
    window.speechSynthesis?.cancel();
    this.player?.close();
    this.player = undefined;
  }

  // Nor heard.
  quiet() {
    this.silence();
    this.microphone.stop();
  }

  leave() {
    window.speechSynthesis?.removeEventListener?.("voiceschanged", this.redraw);
    this.quiet();
    this.become("stopped"); // whatever is still on its way here: a permission, an answer
  }

  // ── Showing ──
  become(mode) {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.change += 1;
    this.mode = mode;
    this.show();
  }

  // Of the mode that begins now: no timer outlives it.
  after(ms, act) {
    this.timer = setTimeout(act, ms);
    this.show();
  }

  tell(sentence) {
    this.view.news.textContent = sentence;
    this.view.root.dataset.mark = "error";
  }

  hint() {
    const { stage, mark, told } = this.state;
    const free = this.model.get("hands_free");
    if (this.mode === "recording") return free ? this.texts.recording_free : this.texts.recording;
    if (this.mode === "stopped") return this.texts.stopped;
    if (this.mode === "ending") return this.texts.saving;
    if (this.mode === "lost") return "";
    if (this.mode !== "idle") return this.texts[this.mode];
    if (stage !== "phrase") return told;
    if (mark === "saved") return this.timer && free ? this.texts.saved_free : this.texts.saved;
    return mark === "retry" ? this.texts.retry : this.texts.ready;
  }

  show() {
    const { view, state, mode } = this;
    view.root.dataset.mode = mode;
    view.root.dataset.stage = state.stage;
    view.root.dataset.mark = state.mark;
    const speaking = mode !== "stopped" && (state.stage === "phrase" || mode !== "idle");
    view.progress.textContent = state.progress;
    view.title.textContent = speaking ? state.title : "";
    view.picture.textContent = speaking ? state.picture : "";
    view.phrase.textContent = speaking ? state.phrase : "";
    view.hint.textContent = this.hint();
    view.panel.setAttribute("aria-label", `${speaking ? state.phrase : ""} ${this.hint()} ${this.texts.panel}`.trim());
    const news = !ownVoice() && this.model.get("spoken") ? [...state.news, this.texts.no_voice] : state.news;
    if (view.news.textContent !== news.join("")) { // a screen reader would say it once more, and into the take
      view.news.replaceChildren(...news.map((line) => Object.assign(document.createElement("p"), { textContent: line })));
    }
    if (mode !== "recording") view.meter.value = 0;
    const idle = mode === "idle";
    const { play, redo, previous, next, skip, stop } = view.buttons;
    play.disabled = !idle || !state.sound;
    redo.disabled = !idle || !state.sound || state.stage !== "phrase";
    previous.disabled = !idle || !state.back;
    next.disabled = !idle || !state.sound;
    skip.disabled = !idle || state.sound || state.stage !== "phrase";
    stop.disabled = ["ending", "saving", "lost", "stopped"].includes(mode);
    view.hands_free.checked = this.model.get("hands_free");
    view.spoken.checked = this.model.get("spoken");
    view.silence_s.value = this.model.get("silence_s");
    view.silence_s.disabled = !view.hands_free.checked;
    view.seconds.textContent = ` ${this.model.get("silence_s")} s`;
  }
}

function render({ model, el }) {
  const recorder = new Recorder(model, el);
  return () => recorder.leave();
}

export default { render };
