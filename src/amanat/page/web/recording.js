/**
 * Records voice notes. What was recorded is in this tab alone until it is sent: if one goes to
 * another conversation, or it cannot be sent, it waits beside the box.
 */

import { find, make } from "./dom.js";
import { bring } from "./files.js";
import { icon } from "./icons.js";
import { line as sentence } from "./phrase.js";
import { dress, minutes } from "./voice.js";
import { words } from "./words.js";

/** @import { Carried, Going } from "./carried.js" */
/** @import { Line } from "./line.js" */
/** @typedef {{ blob: Blob, seconds: number }} Kept */
/** @typedef {{
 *   chat: string, recorder: MediaRecorder, parts: Blob[], began: number, context: AudioContext,
 *   then: "sent" | "kept" | "gone", why: string,
 * }} Running */
/** @typedef {{
 *   take: () => { text: string, reply_to: string | null, giveBack: (why?: unknown) => void },
 *   carried: () => Carried | undefined, focus: () => void, explain: (sentence: string) => void,
 *   refused: (why: unknown) => void,
 * }} Beside what stands around it */

/** What the client makes voice notes of (media/voice.py), in the order in which we like it. */
const TYPES = ["audio/ogg;codecs=opus", "audio/webm;codecs=opus"];
/** Speech is good at 24 kb/s, and 20 seconds of it are one cell. */
const BITS_PER_SECOND = 24_000;
/** A second less than the client takes (MAX_VOICE_S): recorders stop a little late. */
const MOST_S = 599;
const LEVELS = 64;
/** The lowest rate at which every browser decodes: enough to see how loud it is. */
const RATE = 8000;
const TICK_MS = 100;

export class Recorder {
  #beside;
  #form = find("form.composer", HTMLFormElement);
  #bar = make("div", { className: "recording", role: "group", hidden: true });
  #chat = "";
  #isAsking = false;
  /** @type {Running | undefined} */
  #running;
  /** What waits in each conversation. @type {Map<string, Kept[]>} */
  #kept = new Map();
  /** What the bar shows. @type {Running | Kept | undefined} */
  #shown;
  /** How many go to the client just now. */
  #going = 0;

  /** @param {Line} line @param {Beside} beside */
  constructor(line, beside) {
    this.#beside = beside;
    this.#form.append(this.#bar);
    this.#bar.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.#running) return;
      event.preventDefault(); // it takes nothing away: what was said is kept
      this.#stop("kept");
    });
    addEventListener("beforeunload", (event) => {
      if (this.#running || this.#kept.size || this.#going) event.preventDefault();
    });
    // Nothing of a profile that is locked stays in the page.
    line.addEventListener("state", () => {
      this.#kept.clear();
      this.#stop("gone");
    });
    setInterval(() => this.#tick(), TICK_MS);
  }

  /** Another conversation is open, or none. @param {string} chat */
  open(chat) {
    if (chat !== this.#chat) this.#stop("kept");
    this.#chat = chat;
    this.#show();
  }

  /** Begin to record. */
  async begin() {
    const chat = this.#chat;
    if (this.#isAsking || this.#running || !chat) return;
    this.#isAsking = true;
    this.#beside.explain("");
    try {
      const [running] = await Promise.all([record(chat), dress()]);
      if (chat === this.#chat) this.#run(running);
      else end(running); // one has gone elsewhere meanwhile
    } catch (why) {
      this.#beside.refused(why);
    } finally {
      this.#isAsking = false;
    }
  }

  /** @param {Running} running */
  #run(running) {
    const { recorder } = running;
    this.#running = running;
    recorder.addEventListener("dataavailable", ({ data }) => running.parts.push(data));
    recorder.addEventListener("stop", () => this.#over(running), { once: true });
    recorder.start();
    this.#show();
    this.#focus("send");
  }

  /** @param {Running["then"]} then @param {string} [why] */
  #stop(then, why = "") {
    const running = this.#running;
    if (!running) return;
    running.then = then;
    running.why = why;
    if (running.recorder.state !== "inactive") running.recorder.stop();
  }

  /** A recording is over: by a press, or because the microphone has gone. @param {Running} running */
  #over(running) {
    const { chat, parts, began, then, why } = running;
    if (this.#running === running) this.#running = undefined;
    end(running);
    const kept = { blob: new Blob(parts), seconds: (performance.now() - began) / 1000 };
    if (then === "sent") void this.#send(chat, kept);
    else if (then === "kept") this.#keep(chat, kept);
    this.#show();
    if (why && then === "kept") this.#beside.refused(new Error(why));
    if (chat === this.#chat) then === "kept" ? this.#focus("send") : this.#beside.focus();
  }

  /** @param {string} chat @param {Kept} kept */
  #keep(chat, kept) {
    this.#kept.set(chat, [...this.#kept.get(chat) ?? [], kept]);
  }

  /** @param {string} chat @param {Kept} kept */
  #discard(chat, kept) {
    const others = this.#kept.get(chat)?.filter((one) => one !== kept) ?? [];
    if (others.length) this.#kept.set(chat, others);
    else this.#kept.delete(chat);
  }

  /** @param {string} chat @param {Kept} kept */
  async #send(chat, kept) {
    const { text, reply_to, giveBack } = this.#beside.take(), carried = this.#beside.carried();
    const stop = new AbortController(), { size } = kept.blob;
    /** @type {Going} */
    const going = { chat, kind: "voice", name: "", size, done: 0, cancel: () => stop.abort() };
    this.#discard(chat, kept);
    this.#going++;
    this.#show();
    carried?.begin(going);
    try {
      const waveform = await waveformOf(kept.blob).catch(() => "");
      stop.signal.throwIfAborted();
      const offer = { chat, name: "", text, reply_to, how: "voice", waveform };
      await bring(offer, kept.blob, (done) => {
        going.done = done;
        carried?.renew(going);
      }, stop.signal);
    } catch (why) {
      giveBack(stop.signal.aborted ? undefined : why);
      if (!stop.signal.aborted) {
        this.#keep(chat, kept);
        this.#beside.refused(why);
      }
    } finally {
      this.#going--;
      carried?.end(going);
      this.#show();
    }
  }

  #tick() {
    const running = this.#running;
    if (!running) return;
    dispatchEvent(new Event("recording")); // who speaks does something (idle.js)
    const seconds = (performance.now() - running.began) / 1000;
    const time = this.#bar.querySelector("[role=timer]");
    if (time) time.textContent = minutes(seconds);
    if (seconds >= MOST_S) this.#stop("kept", "recording-full");
  }

  /** Show what is recorded, or waits to be sent, in place of the box. */
  #show() {
    const isOn = this.#running?.chat === this.#chat, [kept] = this.#kept.get(this.#chat) ?? [];
    const isShown = isOn || kept !== undefined, shown = isOn ? this.#running : kept;
    if (shown === this.#shown) return; // whoever is about to press has the focus there
    this.#shown = shown;
    this.#bar.hidden = !isShown;
    this.#form.classList.toggle("is-recording", isShown);
    if (!isShown) {
      this.#bar.replaceChildren();
      return;
    }
    this.#bar.ariaLabel = isOn ? words.recording : words.voice;
    const discard = button("cancel", words.discard, "close", () => {
      if (isOn) this.#stop("gone");
      else if (kept) this.#discard(this.#chat, kept);
      this.#show();
      this.#beside.focus();
    });
    const send = button("send", isOn ? words.recordEnds : words.send, "send", () => {
      if (isOn) this.#stop("sent");
      else if (kept) void this.#send(this.#chat, kept);
      if (!isOn) this.#beside.focus();
    });
    const said = isOn && this.#running
      ? [
        make("span", { className: "red", ariaHidden: "true" }),
        make("span", { role: "timer", ariaLabel: words.recording }, minutes(0)),
        meter(this.#running),
      ]
      : [make("span", {}, sentence(words.voiceKept, { length: minutes(kept?.seconds ?? 0) }))];
    this.#bar.replaceChildren(discard, ...said, send);
  }

  /** @param {string} which */
  #focus(which) {
    const found = this.#bar.querySelector(`.${which}`);
    if (found instanceof HTMLElement) found.focus();
  }
}

/** @param {string} className @param {string} label @param {"close" | "send"} sign @param {() => void} onclick */
function button(className, label, sign, onclick) {
  return make(
    "button",
    { type: "button", className, ariaLabel: label, title: label, onclick },
    icon(sign),
  );
}

/**
 * A recorder that has the microphone. Fails with the code of an error.
 * @param {string} chat @returns {Promise<Running>}
 */
async function record(chat) {
  const mimeType = TYPES.find((one) => globalThis.MediaRecorder?.isTypeSupported(one));
  if (!mimeType) throw new Error("no-recorder");
  const audio = { channelCount: 1, echoCancellation: true, noiseSuppression: true };
  const stream = await navigator.mediaDevices.getUserMedia({ audio }).catch(() => {
    throw new Error("no-microphone");
  });
  const recorder = new MediaRecorder(stream, { mimeType, audioBitsPerSecond: BITS_PER_SECOND });
  const context = new AudioContext(), began = performance.now();
  // Unless somebody presses, it is over because the microphone has gone.
  return { chat, recorder, parts: [], began, context, then: "kept", why: "recording-ended" };
}

/** Give the microphone back. @param {Running} running */
function end({ recorder, context }) {
  for (const track of recorder.stream.getTracks()) track.stop();
  void context.close().catch(() => {});
}

/** How loud it is just now. @param {Running} running */
function meter({ context, recorder }) {
  const made = make("span", { className: "level", ariaHidden: "true" }, make("span"));
  const analyser = context.createAnalyser(), heard = new Float32Array(analyser.fftSize);
  context.createMediaStreamSource(recorder.stream).connect(analyser);
  const look = () => {
    if (!made.isConnected && recorder.state === "inactive") return;
    analyser.getFloatTimeDomainData(heard);
    made.style.setProperty("--level", String(loudness(heard)));
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
  return made;
}

/** From 0 to 1, as people hear it. @param {Float32Array} samples */
function loudness(samples) {
  let sum = 0;
  for (const one of samples) sum += one * one;
  return Math.min(1, Math.sqrt(Math.sqrt(sum / Math.max(1, samples.length))));
}

/**
 * The waveform of a recording as the client takes it: 64 levels from 0 to 15 in base64.
 * @param {Blob} blob
 */
async function waveformOf(blob) {
  const context = new OfflineAudioContext(1, 1, RATE);
  const sound = (await context.decodeAudioData(await blob.arrayBuffer())).getChannelData(0);
  const loud = Array.from({ length: LEVELS }, (_, at) =>
    loudness(sound.subarray(
      Math.floor(sound.length * at / LEVELS),
      Math.floor(sound.length * (at + 1) / LEVELS),
    )));
  // The loudest is as high as there is: somebody may speak softly.
  const most = Math.max(...loud, 0.05);
  const levels = loud.map((one) => Math.round(15 * one / most));
  let bytes = "";
  for (let at = 0; at < LEVELS; at += 2) {
    bytes += String.fromCharCode((levels[at] ?? 0) << 4 | (levels[at + 1] ?? 0));
  }
  return btoa(bytes);
}
