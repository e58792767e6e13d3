/** The files that are on their way, by the numbers of their transfers. */

/** @type {Map<number, import("./line.js").Transfer>} */
export const onTheWay = new Map();

/** The one that brings the file of a message, if it is on its way. @param {string} message */
export function transferOf(message) {
  return [...onTheWay.values()].find((one) => one.message === message && !one.up);
}
