/** The camera: it shows what it sees, and takes pictures. */

import { make } from "./dom.js";
import { more } from "./more.js";
import { ask } from "./question.js";
import { words } from "./words.js";

/** How much of a picture's detail is kept, of 1. The client makes it anew, and smaller, before it leaves. */
const QUALITY = 0.92;

/**
 * Show what the camera sees. Fails with "no-camera".
 * @returns {Promise<{ video: HTMLVideoElement, end: () => void }>} an element to show, and what turns
 *   the camera off
 */
export async function look() {
  const wanted = { facingMode: "environment", width: { ideal: 1920 }, height: { ideal: 1080 } };
  const stream = await navigator.mediaDevices.getUserMedia({ video: wanted }).catch(() => {
    throw new Error("no-camera");
  });
  const video = /** @type {HTMLVideoElement} */ (make("video", {
    srcObject: stream,
    muted: true,
    playsInline: true,
    ariaLabel: words.fromCamera,
  }));
  const end = () => {
    for (const track of stream.getTracks()) track.stop();
    video.remove();
  };
  return { video, end };
}

/**
 * Take a picture that the person is content with; none if they do not want one. Fails with
 * "no-camera".
 * @returns {Promise<File | null>}
 */
export async function takePicture() {
  const { video, end } = await look();
  try {
    for (let answer = "again"; answer !== "send";) {
      await video.play();
      const take = { value: "take", label: more.takePicture };
      if (await ask(more.camera, [video], [take]) !== "take") return null;
      video.pause();
      answer = await ask(more.camera, [video], [
        { value: "send", label: words.send },
        { value: "again", label: more.takeAnother },
      ]);
      if (!answer) return null;
    }
    const drawn = new OffscreenCanvas(video.videoWidth, video.videoHeight);
    drawn.getContext("2d")?.drawImage(video, 0, 0);
    const made = await drawn.convertToBlob({ type: "image/jpeg", quality: QUALITY });
    return new File([made], "picture.jpg", { type: made.type });
  } finally {
    end();
  }
}
