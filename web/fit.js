// @ts-check
/** Positions in an image, in percent of it. */

const STEP = 2; // percent for an arrow key
const LEAP = 10;

/**
 * @typedef {{ left: number, top: number, width: number, height: number }} Place percent of the image
 */

/**
 * A box in pixels, clipped to the image.
 *
 * @param {number[]} box x1, y1, x2, y2
 * @param {number} width of the image, pixels
 * @param {number} height
 * @returns {Place}
 */
export const place = ([x1, y1, x2, y2], width, height) => {
  const left = percent(x1, width);
  const top = percent(y1, height);
  return { left, top, width: percent(x2, width) - left, height: percent(y2, height) - top };
};

/**
 * @param {number} part
 * @param {number} whole
 * @returns {number} 0..100
 */
export const percent = (part, whole) => (whole > 0 ? Math.min(100, Math.max(0, (100 * part) / whole)) : 0);

/**
 * The value of a slider after a key press.
 *
 * @param {number} value 0..100
 * @param {string} key as KeyboardEvent.key
 * @param {boolean} shift
 * @returns {number | null} 0..100; null for other keys
 */
export const afterKey = (value, key, shift = false) => {
  const step = shift ? LEAP : STEP;
  /** @type {Record<string, number>} */
  const places = {
    ArrowLeft: value - step,
    ArrowDown: value - step,
    ArrowRight: value + step,
    ArrowUp: value + step,
    PageDown: value - LEAP,
    PageUp: value + LEAP,
    Home: 0,
    End: 100,
  };
  return key in places ? percent(places[key], 100) : null;
};
