/**
 * The blurred stand-in of a picture that is not here yet: a ThumbHash, drawn into a canvas. Its form
 * is described in `media/thumbhash.py`. Whatever the bytes are, something is drawn.
 */

const SIDE = 32, MOST = 7, MOST_OVER_ALPHA = 5, FEWEST = 3;

/** Draw the stand-ins that are not drawn yet. @param {Element} root */
export function drawHints(root) {
  for (const one of root.querySelectorAll("canvas[data-hint]")) {
    if (!(one instanceof HTMLCanvasElement)) continue;
    const { width, height, points } = decode(bytesOf(one.dataset.hint ?? ""));
    one.removeAttribute("data-hint");
    one.width = width;
    one.height = height;
    one.getContext("2d")?.putImageData(new ImageData(points, width, height), 0, 0);
  }
}

/** @param {string} text in Base64 @returns {Uint8Array} nothing if it is none */
function bytesOf(text) {
  try {
    return Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  } catch {
    return new Uint8Array();
  }
}

/** The points of a stand-in, four bytes for each (RGBA). @param {Uint8Array} code */
export function decode(code) {
  const at = (/** @type {number} */ place) => code[place] ?? 0;
  const head = at(0) | at(1) << 8 | at(2) << 16, rest = at(3) | at(4) << 8;
  const bits = (
    /** @type {number} */ from,
    /** @type {number} */ shift,
    /** @type {number} */ many,
  ) => from >> shift & ((1 << many) - 1);
  const hasAlpha = bits(head, 23, 1) === 1, isWide = bits(rest, 15, 1) === 1;
  const long = hasAlpha ? MOST_OVER_ALPHA : MOST, short = bits(rest, 0, 3);
  const across = isWide ? long : short, down = isWide ? short : long;
  const width = side(across, down), height = side(down, across);

  let half = (hasAlpha ? 6 : 5) * 2;
  /** The next four bits, from -1 to 1. */
  const wave = () => {
    const value = at(half >> 1) >> (half & 1) * 4 & 15;
    half++;
    return value / 7.5 - 1;
  };
  /**
   * A channel: its average, and its waves, so many at most across and down.
   * @param {number} most @param {number} mostDown @param {number} average @param {number} strength
   */
  const channel = (most, mostDown, average, strength) => {
    const plane = new Float64Array(width * height).fill(average);
    for (let y = 0; y < mostDown; y++) {
      const rows = cosines(height, y);
      for (let x = y ? 0 : 1; x * mostDown < most * (mostDown - y); x++) {
        const columns = cosines(width, x), by = 2 * wave() * strength;
        for (let i = 0; i < plane.length; i++) {
          plane[i] = (plane[i] ?? 0) + by * (columns[i % width] ?? 0) *
              (rows[Math.floor(i / width)] ?? 0);
        }
      }
    }
    return plane;
  };
  const light = channel(
    Math.max(FEWEST, across),
    Math.max(FEWEST, down),
    bits(head, 0, 6) / 63,
    bits(head, 18, 5) / 31,
  );
  const first = channel(3, 3, bits(head, 6, 6) / 31.5 - 1, bits(rest, 3, 6) / 63 * 1.25);
  const second = channel(3, 3, bits(head, 12, 6) / 31.5 - 1, bits(rest, 9, 6) / 63 * 1.25);
  const alpha = hasAlpha ? channel(5, 5, (at(5) & 15) / 15, (at(5) >> 4) / 15) : undefined;

  const points = new Uint8ClampedArray(4 * width * height);
  for (let i = 0; i < width * height; i++) {
    const [l = 0, p = 0, q = 0] = [light[i], first[i], second[i]];
    const blue = l - 2 / 3 * p, red = (3 * l - blue + q) / 2;
    points.set([red, red - q, blue, alpha?.[i] ?? 1].map((one) => 255 * one), 4 * i);
  }
  return { width, height, points };
}

/** A side of the stand-in, by the waves along it and along the other. @param {number} own @param {number} other */
function side(own, other) {
  return own >= other ? SIDE : Math.max(1, Math.round(SIDE * own / other));
}

/** @param {number} length @param {number} wave */
function cosines(length, wave) {
  return Array.from({ length }, (_, at) => Math.cos(Math.PI / length * wave * (at + 0.5)));
}
