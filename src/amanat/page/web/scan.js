/** Reads a code from a picture or with the camera: the browser opens it, the client finds the code. */

import { look } from "./camera.js";
import { make } from "./dom.js";
import { button, buttons, hint } from "./parts.js";
import { act } from "./sheet.js";
import { store } from "./store.js";
import { words } from "./words.js";

/** How long the camera's picture is left alone between two looks. */
const LOOK_MS = 400;

/** The longest side of what is looked at, in points (qr.py). */
const MAX_SIDE = 640;

/** A share of a picture around its middle: all of it, and then half, for a small code in a large one. */
const PARTS = [1, 0.5];

/** What stands below the field for a link. @param {(link: string) => void} found */
export function reading(found) {
  /** @param {Blob | null | undefined} file */
  const read = async (file) => {
    if (!file) return;
    const picture = await createImageBitmap(file).catch(() => {
      throw new Error("no-code");
    });
    const text = await code(picture, picture.width, picture.height);
    if (!text) throw new Error("no-code");
    found(text);
  };
  const file = /** @type {HTMLInputElement} */ (make("input", {
    type: "file",
    accept: "image/*",
    hidden: true,
    ariaLabel: words.fromPicture,
  }));
  file.onchange = () => act(() => read(file.files?.[0]));
  const place = make("div", { className: "drop" });
  place.append(
    hint(words.dropPicture),
    buttons(
      button(words.fromPicture, () => Promise.resolve(file.click())),
      button(words.fromCamera, () => watch(place, found)),
    ),
    file,
  );
  place.addEventListener("dragover", (event) => event.preventDefault());
  place.addEventListener("drop", (event) => {
    event.preventDefault();
    void act(() => read(event.dataTransfer?.files[0]));
  });
  const pasted = (/** @type {ClipboardEvent} */ event) => {
    if (!place.isConnected) document.removeEventListener("paste", pasted);
    else if (event.clipboardData?.files[0]) void act(() => read(event.clipboardData?.files[0]));
  };
  document.addEventListener("paste", pasted);
  return place;
}

/**
 * The text of a code in a picture; empty if there is none.
 * @param {CanvasImageSource} picture @param {number} width @param {number} height
 * @returns {Promise<string>}
 */
async function code(picture, width, height) {
  for (const part of PARTS) {
    const [w, h] = [width * part, height * part];
    const scale = Math.min(1, MAX_SIDE / Math.max(w, h));
    const seen = shades(picture, [(width - w) / 2, (height - h) / 2, w, h], scale);
    const { text } = /** @type {{ text: string }} */ (await store.ask("read picture", seen));
    if (text || scale === 1) return text;
  }
  return "";
}

/**
 * A part of a picture in shades of grey.
 * @param {CanvasImageSource} picture @param {[number, number, number, number]} part @param {number} scale
 */
function shades(picture, part, scale) {
  const width = Math.max(1, Math.floor(part[2] * scale));
  const height = Math.max(1, Math.floor(part[3] * scale));
  const drawn = /** @type {OffscreenCanvasRenderingContext2D} */ (
    new OffscreenCanvas(width, height).getContext("2d")
  );
  drawn.fillStyle = "#fff"; // what shines through a picture
  drawn.fillRect(0, 0, width, height);
  drawn.drawImage(picture, ...part, 0, 0, width, height);
  const { data } = drawn.getImageData(0, 0, width, height);
  let grey = "";
  for (let at = 0; at < data.length; at += 4) {
    const [red = 0, green = 0, blue = 0] = data.subarray(at, at + 3);
    grey += String.fromCharCode((red + 2 * green + blue) >> 2);
  }
  return { width, height, shades: btoa(grey) };
}

/**
 * Look through the camera until a code is seen, or the sheet is gone.
 * @param {HTMLElement} place
 * @param {(link: string) => void} found
 */
async function watch(place, found) {
  const { video, end } = await look();
  place.append(video);
  try {
    await video.play();
    while (video.isConnected) {
      const text = await code(video, video.videoWidth, video.videoHeight);
      if (text) return found(text);
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  } finally {
    end();
  }
}
