// @ts-check
/** Two images on top of each other: the one before left of the divider, the one after right of it. */

import { element, picture } from "./element.js";
import { afterKey, percent } from "./fit.js";

/**
 * @typedef {import("./picker.js").File} File
 * @typedef {{ before: File, after: File }} Pair
 */

/**
 * @param {(file: File) => string} address
 * @param {import("./words.js").Words} words
 */
export const createCompare = (address, words) => {
  const before = picture(words.gone, "cscs-before");
  const after = picture(words.gone);
  const divider = element("div", { className: "cscs-divider", tabIndex: 0, role: "slider" });
  Object.assign(divider, { ariaLabel: words.divider, ariaValueMin: "0", ariaValueMax: "100" });
  const frame = element(
    "div",
    { className: "cscs-frame cscs-slide" },
    after.image,
    before.image,
    after.gone,
    before.gone,
    element("span", { className: "cscs-side cscs-left", textContent: words.before }),
    element("span", { className: "cscs-side cscs-right", textContent: words.after }),
    divider,
  );
  const room = element("div", { className: "cscs-room" }, frame);
  const root = element("div", { className: "cscs-view" }, room);
  let value = 50;

  /** @param {number} next percent of the image that shows "before" */
  const move = (next) => {
    value = next;
    frame.style.setProperty("--at", `${value}%`);
    divider.ariaValueNow = String(Math.round(value));
    divider.ariaValueText = words.share(Math.round(value));
  };

  /** @param {PointerEvent} event */
  const follow = (event) => {
    const { left, width } = frame.getBoundingClientRect();
    move(percent(event.clientX - left, width));
  };

  frame.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    divider.focus({ preventScroll: true });
    frame.setPointerCapture(event.pointerId);
    follow(event);
  });
  frame.addEventListener("pointermove", (event) => {
    if (frame.hasPointerCapture(event.pointerId)) follow(event);
  });
  divider.addEventListener("keydown", (event) => {
    const next = afterKey(value, event.key, event.shiftKey);
    if (next === null) return;
    event.preventDefault();
    event.stopPropagation(); // the canvas uses arrow keys too
    move(next);
  });
  after.image.addEventListener("load", () => {
    frame.style.setProperty("--ratio", String(after.image.naturalWidth / after.image.naturalHeight));
  });
  move(value);

  /** @param {Pair} pair */
  const show = (pair) => {
    before.show(address(pair.before));
    after.show(address(pair.after));
  };

  return { element: root, show };
};
