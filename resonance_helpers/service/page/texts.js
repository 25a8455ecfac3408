// The page's sentences in both languages: they come with the page, so that "the server is down" can be said then too.

const TAGS = { zh: "zh-CN", en: "en" };
let texts = {};
export let language = "zh";

export function setTexts(all) {
  texts = all;
}

// Chinese unless the browser prefers English; what somebody chose counts for more.
export function choose(wanted) {
  const first = (navigator.languages ?? [navigator.language]).find((tag) => /^(zh|en)\b/i.test(tag)) ?? "zh";
  language = wanted in TAGS ? wanted : first.slice(0, 2).toLowerCase();
  document.documentElement.lang = TAGS[language];
}

export const other = () => (language === "zh" ? "en" : "zh");
export const tag = (lang) => TAGS[lang];

export function say(key, facts = {}) {
  const sentence = texts[language][key];
  if (sentence === undefined) throw new Error(`no sentence ${key}`);
  return sentence.replace(/\{(\w+)\}/g, (_, name) => String(facts[name]));
}

// Every element that names its sentence in the HTML.
export function sayAll() {
  document.title = say("name");
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = say(element.dataset.text);
}
