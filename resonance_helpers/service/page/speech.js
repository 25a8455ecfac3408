// Reads a text aloud, with a voice of the device itself: some browsers also offer voices that send the words away.

const VOICE_TAG = "zh-CN";

// An iPhone speaks after a wait only if it was asked to speak, if only nothing, while a tap was handled.
export function prepare() {
  window.speechSynthesis?.speak(new SpeechSynthesisUtterance(""));
}

export function quiet() {
  window.speechSynthesis?.cancel();
}

// Whether the text is being spoken. No list of voices at all means that the system has one voice, its own.
export function speak(text) {
  const voices = window.speechSynthesis?.getVoices();
  const own = voices?.filter((voice) => voice.localService && /^(zh|cmn)/i.test(voice.lang));
  if (!voices || (voices.length && !own.length)) return false;
  const utterance = new SpeechSynthesisUtterance(text);
  utterance.lang = VOICE_TAG;
  if (own.length) utterance.voice = own.find((voice) => voice.lang.replace("_", "-") === VOICE_TAG) ?? own[0];
  quiet();
  window.speechSynthesis.speak(utterance);
  return true;
}
