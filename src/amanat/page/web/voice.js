/**
 * Voice notes in messages. One plays at a time; when it ends, the next one that was not played
 * follows. The browser decodes them, and the client never does.
 */

import { draw as drawn, make } from "./dom.js";
import { fault } from "./faults.js";
import { icon } from "./icons.js";
import { line as sentence } from "./phrase.js";
import { number, words } from "./words.js";

/** @import { ChatHistory } from "./history.js" */
/** @import { Line } from "./line.js" */

const SPEEDS = [1, 1.5, 2];
/** How high the loudest bar of a waveform is, and the quietest, of the 32 that there are. */
const HIGHEST = 30, LOWEST = 3;
const two = new Intl.NumberFormat(words.locale, { minimumIntegerDigits: 2 });
const audio = new Audio();
/** The message that is played, and its conversation. */
let playing = "", chat = "";
/** The message that is played once its file is here. */
let wanted = "";
/** The message that cannot be played. */
let broken = "";
let speed = 1;
/** Where the others begin, as shares of the whole. @type {Map<string, number>} */
const places = new Map();
/** The control that had the focus last: its message and its class. */
let held = { id: "", control: "" };
/** @type {ChatHistory | undefined} */
let root;
/** @type {Line | undefined} */
let line;

/** @type {Promise<unknown> | undefined} */
let look;

/** Have the styles of what is shown here and of what records. */
export function dress() {
  look ??= new Promise((done) => {
    const link = make("link", { rel: "stylesheet", href: new URL("voice.css", import.meta.url) });
    link.addEventListener("load", done);
    link.addEventListener("error", done);
    document.head.append(link);
  });
  return look;
}

/** A length as a clock shows it. @param {number} seconds */
export function minutes(seconds) {
  const whole = Math.floor(seconds);
  return `${number.format(Math.floor(whole / 60))}:${two.format(whole % 60)}`;
}

/**
 * Let the voice notes in these messages be played, and none of another conversation.
 * @param {Line} to @param {string} open @param {ChatHistory} history
 */
export function showVoices(to, open, history) {
  if (!root) begin(to, history);
  if (playing && open !== chat) stop();
  if (open !== chat) wanted = "";
  chat = open;
  void dress();
  for (const place of history.querySelectorAll("[data-voice]:empty")) {
    if (!(place instanceof HTMLElement)) continue;
    fill(place);
    show(place);
    if (place.dataset.voice === wanted && place.dataset.here) void play(wanted);
  }
}

/** @param {Line} to @param {ChatHistory} history */
function begin(to, history) {
  line = to;
  root = history;
  history.addEventListener("removed", (event) => {
    if (event instanceof CustomEvent && event.detail === playing) stop();
  });
  history.addEventListener("changed", (event) => {
    if (!(event instanceof CustomEvent)) return;
    if (event.detail.id === playing && event.detail.deleted) stop();
  });
  history.addEventListener("focusin", ({ target }) => {
    const at = target instanceof HTMLElement ? target : undefined;
    const id = at?.closest("[data-voice]")?.getAttribute("data-voice") ?? "";
    // A message that is shown anew takes the focus from what was in it.
    const isAnew = !id && at?.querySelector(`[data-voice="${held.id}"]:empty`);
    if (!isAnew) held = { id, control: id ? at?.className ?? "" : "" };
  });
  audio.addEventListener("playing", () => {
    const place = placeOf(playing);
    if (place?.dataset.new) void line?.ask("played", { chat, message: playing }).catch(() => {});
  });
  for (const one of ["timeupdate", "play", "pause", "seeked", "durationchange"]) {
    audio.addEventListener(one, () => renew(playing));
  }
  audio.addEventListener("loadedmetadata", () => {
    const from = places.get(playing);
    if (from) audio.currentTime = from * length();
  });
  audio.addEventListener("error", () => fail(playing));
  audio.addEventListener("ended", () => {
    const over = playing;
    stop();
    places.delete(over);
    renew(over);
    const next = nextOf(over);
    if (next) void play(next);
  });
}

/** Forget what is played. */
function stop() {
  const over = playing;
  if (over && audio.currentTime) places.set(over, share(over));
  playing = wanted = "";
  audio.pause();
  audio.removeAttribute("src");
  renew(over);
}

/** The next voice note of somebody else that is here and was not played. @param {string} id */
function nextOf(id) {
  const all = root?.entries ?? [], at = all.findIndex((one) => one.message.id === id);
  return at < 0
    ? undefined
    : all.slice(at + 1).find(({ message: { own, file } }) =>
      file?.kind === "voice" && file.here && !own && !file.played
    )?.message.id;
}

/** Play a voice note, from where one was in it. @param {string} id */
async function play(id) {
  wanted = "";
  broken = "";
  if (playing !== id) {
    stop();
    playing = id;
    try {
      const { address } = await line?.ask("ticket", { chat, message: id });
      if (playing !== id) return; // another one was pressed
      audio.src = new URL(address, location.href).href;
    } catch {
      fail(id);
      return;
    }
  }
  audio.defaultPlaybackRate = audio.playbackRate = speed;
  // A fault has an event of its own; what was broken off has none.
  await audio.play().catch(() => {});
}

/** It is no sound that the browser knows, or no longer here. @param {string} id */
function fail(id) {
  if (!id || id !== playing) return;
  playing = "";
  broken = id;
  renew(id);
}

/** The length of what is played. */
function length() {
  const known = Number(placeOf(playing)?.dataset.seconds ?? 0);
  return Number.isFinite(audio.duration) ? audio.duration : known;
}

/** How far one is in a voice note. @param {string} id */
function share(id) {
  if (id !== playing || !audio.readyState) return places.get(id) ?? 0;
  return length() ? Math.min(1, audio.currentTime / length()) : 0;
}

/** @param {string} id */
function placeOf(id) {
  const found = id && root?.querySelector(`[data-voice="${id}"]`);
  return found instanceof HTMLElement ? found : undefined;
}

/** @param {string} id */
function renew(id) {
  const place = placeOf(id);
  if (place?.firstChild) show(place);
}

/** The bars of a waveform: one for each digit. @param {string} waveform */
function bars(waveform) {
  const levels = [...(waveform || "0".repeat(64))].map((one) => parseInt(one, 16) / 15);
  const lines = levels.map((level, at) => {
    const high = LOWEST + level * (HIGHEST - LOWEST);
    return `M${2 * at + 1} ${16 - high / 2}v${high}`;
  });
  return drawn(
    "svg",
    { viewBox: "0 0 128 32", preserveAspectRatio: "none", "aria-hidden": "true" },
    drawn("path", { d: lines.join("") }),
  );
}

/** @param {HTMLElement} place */
function fill(place) {
  const { voice: id = "", waveform = "" } = place.dataset;
  const article = place.closest("article"), tabIndex = article?.tabIndex ?? -1;
  const at = /** @type {HTMLInputElement} */ (make("input", {
    type: "range",
    className: "place",
    ariaLabel: words.voicePlace,
    tabIndex,
  }));
  const deed = make("button", { type: "button", className: "play", tabIndex });
  const pace = make("button", { type: "button", className: "speed", dir: "ltr", tabIndex });
  at.addEventListener("input", () => {
    const to = Number(at.value) / 100;
    if (id === playing && audio.readyState) audio.currentTime = to * length();
    else places.set(id, to);
    renew(id);
  });
  deed.addEventListener("click", () => {
    if (root?.classList.contains("is-selecting")) return;
    if (id === playing && !audio.paused) audio.pause();
    else if (place.dataset.here) void play(id);
    else {
      wanted = id;
      const fetch = article?.querySelector("button[data-deed=fetch]");
      if (fetch instanceof HTMLElement) fetch.click();
    }
  });
  pace.addEventListener("click", () => {
    speed = SPEEDS[(SPEEDS.indexOf(speed) + 1) % SPEEDS.length] ?? 1;
    audio.defaultPlaybackRate = audio.playbackRate = speed;
    for (const one of root?.querySelectorAll("[data-voice]") ?? []) {
      if (one instanceof HTMLElement && one.firstChild) show(one);
    }
  });
  place.append(
    deed,
    make("span", { className: "wave" }, bars(waveform), bars(waveform), at),
    pace,
    make("span", { className: "voice-time" }),
    make("p", { className: "voice-fault", role: "alert", hidden: true }),
  );
  const before = id === held.id && place.querySelector(`.${held.control}`);
  if (before instanceof HTMLElement && document.activeElement === article) before.focus();
}

/** Show how far one is in a voice note. @param {HTMLElement} place */
function show(place) {
  const { voice: id = "", seconds = "0" } = place.dataset;
  const whole = id === playing ? length() : Number(seconds), part = share(id);
  const isOn = id === playing && !audio.paused;
  const [deed, wave, pace, time, why] = place.children;
  if (deed instanceof HTMLElement && deed.dataset.on !== String(isOn)) {
    deed.dataset.on = String(isOn);
    deed.ariaLabel = deed.title = isOn ? words.filePause : words.play;
    deed.replaceChildren(icon(isOn ? "pause" : "play"));
  }
  const at = wave?.querySelector("input");
  if (wave instanceof HTMLElement && at) {
    wave.style.setProperty("--played", `${100 * part}%`);
    at.value = String(Math.round(100 * part));
    at.setAttribute(
      "aria-valuetext",
      sentence(words.voiceTime, { at: minutes(part * whole), length: minutes(whole) }),
    );
  }
  if (pace instanceof HTMLElement) {
    pace.textContent = `${number.format(speed)}×`;
    pace.ariaLabel = pace.title = sentence(words.voiceSpeed, { n: number.format(speed) });
  }
  if (time) {
    const dot = { className: "new", role: "img", ariaLabel: words.voiceNew, title: words.voiceNew };
    time.replaceChildren(
      minutes(part ? part * whole : whole),
      ...(place.dataset.new ? [make("span", dot)] : []),
    );
  }
  if (why instanceof HTMLElement) {
    why.hidden = broken !== id;
    why.textContent = broken === id ? fault(new Error("voice-unplayable")) : "";
  }
}
