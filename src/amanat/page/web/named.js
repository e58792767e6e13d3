/** Whether a text names somebody with an at sign. Nothing of it is sent: it is seen here alone. */

/**
 * @param {string} text
 * @param {string} name
 */
export function isNamed(text, name) {
  if (!name) return false;
  const wanted = `@${name.toLocaleLowerCase()}`, said = text.toLocaleLowerCase();
  for (let at = said.indexOf(wanted); at >= 0; at = said.indexOf(wanted, at + 1)) {
    const before = said.slice(0, at), after = said.slice(at + wanted.length);
    // Neither an address of mail nor the beginning of a longer name.
    if (!/[\p{L}\p{N}]$/u.test(before) && !/^[\p{L}\p{M}\p{N}]/u.test(after)) return true;
  }
  return false;
}
