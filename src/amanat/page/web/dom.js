/** The only place that makes elements: of text and of other elements, never of markup. */

/**
 * @param {string} tag
 * @param {Record<string, unknown>} [properties] properties of the element, or else attributes
 * @param {...(Node | string)} children
 * @returns {HTMLElement}
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) Object.assign(element, { [name]: value });
    else element.setAttribute(name, String(value));
  }
  element.append(...children);
  return element;
}

/**
 * An element of a picture.
 * @param {string} tag
 * @param {Record<string, string>} [attributes]
 * @param {...SVGElement} children
 */
export function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/**
 * The element that a selector finds. It is there.
 * @template {HTMLElement} T
 * @param {string} selector
 * @param {new () => T} kind
 * @returns {T}
 */
export function find(selector, kind) {
  const found = document.querySelector(selector);
  if (!(found instanceof kind)) throw new Error(selector);
  return found;
}

/** Whether something lies over the page: a dialog or a menu, which have keys of their own. */
export function isCovered() {
  return document.querySelector("dialog[open], :popover-open") !== null;
}
