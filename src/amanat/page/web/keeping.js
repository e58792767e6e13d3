/** Which files the client fetches by itself, and how much of what it has fetched it keeps. */

import { bytes } from "./attached.js";
import { choice, hint } from "./parts.js";
import { show } from "./sheet.js";
import { store } from "./store.js";
import { words } from "./words.js";

const MIB = 1024 ** 2, GIB = 1024 ** 3;
const AUTO = [-1, MIB, 10 * MIB, 100 * MIB, 1e9], ROOM = [GIB, 5 * GIB, 10 * GIB, 50 * GIB];

export function showKeeping() {
  show({
    title: words.files,
    build: async () => {
      const { auto_bytes, room_bytes } = await store.ask("file rules");
      return [
        choice(
          words.filesAuto,
          String(auto_bytes),
          options(AUTO, auto_bytes, (one) => one < 0 ? words.filesNone : bytes(one)),
          (value) => store.ask("file rules", { auto_bytes: Number(value) }),
        ),
        hint(words.filesAutoHint),
        choice(
          words.filesRoom,
          String(room_bytes),
          options(ROOM, room_bytes, bytes),
          (value) => store.ask("file rules", { room_bytes: Number(value) }),
        ),
        hint(words.filesRoomHint),
      ];
    },
  });
}

/**
 * Some sizes, with the one that is set.
 * @param {number[]} sizes @param {number} set @param {(one: number) => string} name
 * @returns {[string, string][]}
 */
function options(sizes, set, name) {
  const all = [...new Set([...sizes, set])].sort((one, other) => one - other);
  return all.map((one) => [String(one), name(one)]);
}
