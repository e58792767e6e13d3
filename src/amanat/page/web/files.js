/**
 * Files between the browser and the client: the page brings files that it sends, and saves files that
 * have come. Both move in pieces, so even the longest file takes the memory of a few pieces.
 */

import { make } from "./dom.js";
import { ask } from "./question.js";
import { words } from "./words.js";

/** @import { Carried, Going } from "./carried.js" */
/** @import { Line } from "./line.js" */

/** How much a message of a socket has, and how far the browser may be ahead of the client
 * (WINDOW_BYTES). */
const PIECE = 256 * 1024, WINDOW = 1024 * 1024;

/**
 * Bring a file to the client, which then sends it. Fails with the code of an error, or "gone".
 * @param {{ chat: string, name: string, text: string, reply_to: string | null, how: string, album?: string }} offer
 * @param {Blob} file
 * @param {(done: number) => void} taken told how much the client has
 * @param {AbortSignal} signal
 * @returns {Promise<any>}
 */
export function bring(offer, file, taken, signal) {
  const socket = new WebSocket(new URL("bring", location.href));
  let sent = 0, isReading = false, done = 0;
  /** Send what the window has room for. @param {(why: unknown) => void} failed */
  const go = async (failed) => {
    if (isReading) return;
    isReading = true;
    try {
      while (sent < file.size && sent - done <= WINDOW - PIECE) {
        const piece = await file.slice(sent, sent + PIECE).arrayBuffer();
        if (socket.readyState !== WebSocket.OPEN) return;
        socket.send(piece);
        sent += piece.byteLength;
      }
    } catch {
      failed(new Error("no-file-read")); // it was changed or removed meanwhile
      socket.close();
    } finally {
      isReading = false;
    }
  };
  return new Promise((resolve, reject) => {
    signal.addEventListener("abort", () => {
      reject(new Error("cancelled"));
      socket.close();
    });
    socket.addEventListener("open", () => {
      socket.send(JSON.stringify({ ...offer, size: file.size }));
      void go(reject);
    });
    socket.addEventListener("message", ({ data }) => {
      const said = JSON.parse(data);
      if ("taken" in said) {
        done = said.taken;
        taken(done);
        void go(reject);
      } else if ("error" in said) reject(new Error(said.error));
      else resolve(said.ok);
    });
    socket.addEventListener("close", () => reject(new Error("gone")));
  });
}

/** Whether a file may be a picture that the client can make anew. @param {File} file */
function isPicture({ type }) {
  return ["image/jpeg", "image/png", "image/webp", "image/gif"].includes(type);
}

/**
 * Ask how pictures are to be sent, and say what would stay in them as files: "picture", "file", or
 * "" if they are not to be sent.
 * @param {string} chat @param {File[]} files
 */
async function howToSend(chat, files) {
  const pictures = files.filter(isPicture);
  if (!pictures.length) return "file";
  const stay = { place: false, time: false, camera: false }, { signal } = new AbortController();
  let isRead = true;
  for (const file of pictures) {
    const offer = { chat, name: file.name, text: "", reply_to: null, how: "look" };
    const { traces } = await bring(offer, file, () => {}, signal);
    stay.place ||= traces.place;
    stay.time ||= traces.time;
    stay.camera ||= traces.camera;
    isRead &&= traces.read;
  }
  const found = [
    ...(stay.place ? [words.tracePlace] : []),
    ...(stay.time ? [words.traceTime] : []),
    ...(stay.camera ? [words.traceCamera] : []),
  ];
  const said = [
    ...(found.length ? [words.tracesStay, ...found] : isRead ? [words.tracesNone] : []),
    ...(isRead ? [] : [words.tracesUnread]),
  ];
  return await ask(words.sendPictures, [
    make("p", {}, words.asPicturesMeans),
    make("p", {}, said.join(" ")),
  ], [
    { value: "picture", label: words.asPictures },
    { value: "file", label: words.asFiles },
  ]);
}

/** Random bytes that only the pictures of one album share, in hex (ALBUM_BYTES). */
function newAlbum() {
  return [...crypto.getRandomValues(new Uint8Array(8))]
    .map((one) => one.toString(16).padStart(2, "0")).join("");
}

/**
 * Bring files to the client, one after the other, and show how far each has got.
 * The first of them takes the words with it that are being written.
 * Several pictures are an album.
 * @param {string} chat @param {File[]} files
 * @param {() => { text: string, reply_to: string | null, giveBack: (why?: unknown) => void }} take
 * @param {Carried | undefined} carried
 * @param {(why: unknown) => void} refused told why one was not sent
 * @param {"picture" | ""} [chosen] how pictures are sent, if the person need not be asked
 */
export async function bringAll(chat, files, take, carried, refused, chosen = "") {
  const how = chosen || await howToSend(chat, files).catch(refused);
  if (!how) return;
  const all = files.map((file) => {
    const stop = new AbortController(), { name, size } = file;
    /** @type {Going} */
    const going = { chat, kind: "file", name, size, done: 0, cancel: () => stop.abort() };
    carried?.begin(going);
    return { file, going, signal: stop.signal };
  });
  const album = how === "picture" && files.filter(isPicture).length > 1 ? newAlbum() : "";
  let taken = take();
  for (const { file, going, signal } of all) {
    const { text, reply_to, giveBack } = taken;
    taken = { text: "", reply_to: null, giveBack: () => {} };
    const offer = {
      chat,
      name: file.name,
      text,
      reply_to,
      ...(isPicture(file) ? { how, album } : { how: "file" }),
    };
    try {
      signal.throwIfAborted();
      await bring(offer, file, (done) => {
        going.done = done;
        carried?.renew(going);
      }, signal);
    } catch (why) {
      giveBack(signal.aborted ? undefined : why);
      if (!signal.aborted) refused(why);
    } finally {
      carried?.end(going);
    }
  }
}

/**
 * Let the browser save the file of a message under its name.
 * @param {Line} line @param {string} chat @param {string} message
 */
export async function save(line, chat, message) {
  const { address, size, name } = await line.ask("ticket", { chat, message });
  /** @type {Blob[]} */
  const parts = [];
  let at = 0;
  while (at < size) {
    const answer = await fetch(new URL(address, location.href), {
      headers: { Range: `bytes=${at}-` },
    });
    if (!answer.ok) throw new Error("file-incomplete");
    const part = await answer.blob();
    if (!part.size) throw new Error("file-incomplete");
    parts.push(part);
    at += part.size;
  }
  const whole = URL.createObjectURL(new Blob(parts, { type: "application/octet-stream" }));
  const link = document.createElement("a");
  link.href = whole;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(whole), 60_000);
}
