/** The ways by which a file gets into a conversation: picked, dropped, pasted, taken by the camera, or spoken. */

import { find, isCovered, make } from "./dom.js";
import { icon, iconButton } from "./icons.js";
import { words } from "./words.js";

/** Whether something that is drawn over the page or pasted holds files. @param {DataTransfer | null} data */
function hasFiles(data) {
  return data?.types.includes("Files") ?? false;
}

/** Let voice notes be recorded. @param {() => void} pressed */
export function takeVoice(pressed) {
  const button = make("button", {
    type: "button",
    className: "mic",
    ariaLabel: words.record,
    title: words.record,
  }, icon("mic"));
  button.addEventListener("click", pressed);
  find("form.composer", HTMLFormElement).append(button);
}

/**
 * Let pictures be taken, if there is a camera. A phone offers its own when files are picked.
 * @param {() => void} pressed
 */
export async function takePictures(pressed) {
  const devices = await navigator.mediaDevices?.enumerateDevices() ?? [];
  const hasCamera = devices.some(({ kind }) => kind === "videoinput");
  if (!hasCamera || !matchMedia("(pointer: fine)").matches) return;
  const button = iconButton("camera", words.fromCamera, pressed);
  button.classList.add("camera");
  find("form.composer", HTMLFormElement).append(button);
}

/** Let files be picked, dropped and pasted. @param {(files: File[]) => void} taken */
export function takeFiles(taken) {
  const pane = find("main", HTMLElement), form = find("form.composer", HTMLFormElement);
  const input = /** @type {HTMLInputElement} */ (make("input", {
    type: "file",
    multiple: true,
    hidden: true,
    ariaLabel: words.attach,
  }));
  const button = make("button", {
    type: "button",
    className: "attach",
    ariaLabel: words.attach,
    title: words.attach,
  }, icon("attach"));
  form.append(input, button);
  button.addEventListener("click", () => input.click());
  /** @param {FileList | undefined} list */
  const take = (list) => {
    const files = [...(list ?? [])];
    if (files.length) taken(files);
  };
  input.addEventListener("change", () => {
    take(input.files ?? undefined);
    input.value = ""; // the same file may be picked again
  });
  form.addEventListener("paste", (event) => {
    if (!hasFiles(event.clipboardData)) return;
    event.preventDefault();
    take(event.clipboardData?.files);
  });
  // A file that is dropped beside the conversation would be opened in place of the page.
  for (const kind of /** @type {const} */ (["dragover", "drop"])) {
    document.addEventListener(kind, (event) => {
      // Another place may take it, such as the one for pictures of codes.
      if (event.defaultPrevented || !hasFiles(event.dataTransfer)) return;
      event.preventDefault();
      const isOver = event.target instanceof Node && pane.contains(event.target) && !isCovered();
      pane.classList.toggle("is-over", isOver && kind === "dragover");
      if (event.dataTransfer) event.dataTransfer.dropEffect = isOver ? "copy" : "none";
      if (isOver && kind === "drop") take(event.dataTransfer?.files);
    });
  }
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) pane.classList.remove("is-over");
  });
}
