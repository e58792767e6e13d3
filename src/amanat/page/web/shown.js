/** Pictures and voice notes in messages: the browser gets their bytes from the client, and decodes them itself. */

/** @import { ChatHistory } from "./history.js" */
/** @import { Line } from "./line.js" */

/** Where the browser gets pictures, by their messages. @type {Map<string, string>} */
const addresses = new Map();

/**
 * Where the browser gets the picture of a message, which is here.
 * @param {Pick<Line, "ask">} line @param {string} chat @param {string} message
 */
export async function addressOf(line, chat, message) {
  const known = addresses.get(message);
  if (known) return known;
  const { address } = await line.ask("ticket", { chat, message });
  const found = new URL(address, location.href).href;
  addresses.set(message, found);
  return found;
}

/** What plays voice notes, once there was one. @type {Promise<typeof import("./voice.js")> | undefined} */
let voices;

/**
 * Let the pictures in these messages be shown, and the voice notes be played.
 * @param {Line} line @param {string} chat @param {ChatHistory} root
 */
export function showFiles(line, chat, root) {
  if (voices || root.querySelector("[data-voice]")) {
    voices ??= import("./voice.js");
    void voices.then(({ showVoices }) => showVoices(line, chat, root));
  }
  if (root.querySelector("canvas[data-hint]")) {
    void import("./hint.js").then(({ drawHints }) => drawHints(root));
  }
  for (const one of root.querySelectorAll("img[data-picture]:not([src])")) {
    if (!(one instanceof HTMLImageElement)) continue;
    const message = one.dataset.picture ?? "";
    one.onerror = () => addresses.delete(message); // its ticket has gone, or it is no picture
    addressOf(line, chat, message).then((address) => {
      one.src = address + (one.dataset.part ?? "");
    }).catch(() => {}); // it went meanwhile
  }
}
