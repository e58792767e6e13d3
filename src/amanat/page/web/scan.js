/** Reads a code from a picture or with the camera, if the browser can. */

import { make } from "./dom.js";
import { button, buttons, hint } from "./parts.js";
import { act } from "./sheet.js";
import { words } from "./words.js";

/**
 * @typedef {{ detect: (from: ImageBitmapSource) => Promise<{ rawValue: string }[]> }} Detector
 * @typedef {(new (how: { formats: string[] }) => Detector)
 *   & { getSupportedFormats: () => Promise<string[]> }} DetectorKind
 */

/** How often the camera's picture is looked at. */
const LOOK_MS = 250;

/** What stands below the field for a link. @param {(link: string) => void} found */
export function reading(found) {
  const place = make("div", { className: "reading" });
  void detector().then((one) => place.append(...(one ? ways(one, found) : [hint(words.noReader)])));
  return place;
}

/** @returns {Promise<Detector | undefined>} */
async function detector() {
  const kind = /** @type {DetectorKind | undefined} */ (Reflect.get(globalThis, "BarcodeDetector"));
  if (!kind || !(await kind.getSupportedFormats()).includes("qr_code")) return undefined;
  return new kind({ formats: ["qr_code"] });
}

/** @param {Detector} one @param {(link: string) => void} found */
function ways(one, found) {
  /** @param {Blob | null | undefined} file */
  const read = async (file) => {
    if (!file) return;
    const [code] = await one.detect(await createImageBitmap(file));
    if (!code) throw new Error("no-code");
    found(code.rawValue);
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
      button(words.fromCamera, () => watch(one, place, found)),
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
  return [place];
}

/**
 * Look through the camera until a code is seen, or the sheet is gone.
 * @param {Detector} one
 * @param {HTMLElement} place
 * @param {(link: string) => void} found
 */
async function watch(one, place, found) {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } })
    .catch(() => {
      throw new Error("no-camera");
    });
  const video = /** @type {HTMLVideoElement} */ (make("video", {
    srcObject: stream,
    muted: true,
    playsInline: true,
    ariaLabel: words.fromCamera,
  }));
  place.append(video);
  try {
    await video.play();
    while (video.isConnected) {
      const [code] = await one.detect(video);
      if (code) {
        found(code.rawValue);
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  } finally {
    for (const track of stream.getTracks()) track.stop();
    video.remove();
  }
}
