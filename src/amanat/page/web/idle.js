/** Locks the profile once the person has done nothing for as long as they have set. */

import { store } from "./store.js";

const LOOK_MS = 10_000;
const MINUTE_MS = 60_000;

/** When something was done, in any tab. */
let since = Date.now();

/** Watch what the person does, here and in the other tabs. */
export function watchIdle() {
  const tabs = new BroadcastChannel("amanat");
  let told = 0;
  const note = () => {
    since = Date.now();
    if (since - told < LOOK_MS) return;
    told = since;
    tabs.postMessage(null);
  };
  tabs.addEventListener("message", () => (since = Date.now()));
  for (const one of ["pointerdown", "pointermove", "keydown", "wheel", "recording"]) {
    addEventListener(one, note, { passive: true, capture: true });
  }
  setInterval(() => {
    const minutes = Number(store.settings.idle ?? 0);
    if (minutes && Date.now() - since >= minutes * MINUTE_MS) {
      void store.ask("lock").catch(() => {}); // it is locked already, or the client has ended
    }
  }, LOOK_MS);
}
