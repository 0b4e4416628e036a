// @ts-check
/** An image with its faces as buttons; the pressed ones are listed in the node's `faces_index`. */

import { element, picture } from "./element.js";
import { describe, isChosen, toggle } from "./faces_index.js";
import { place } from "./fit.js";

/**
 * @typedef {{ filename: string, subfolder: string, type: string }} File an image as the host serves it
 * @typedef {{ number: number, box: number[], score: number, chosen: boolean }} Face box in pixels
 * @typedef {File & { width: number, height: number, frame: number, faces: Face[] }} Sheet
 *
 * @typedef {object} Choice the node's `faces_index` widget
 * @property {() => string} read
 * @property {(text: string) => void} write
 * @property {() => boolean} linked whether a link sets it, not the widget
 */

/**
 * @param {(file: File) => string} address
 * @param {Choice} choice
 * @param {import("./words.js").Words} words
 */
export const createPicker = (address, choice, words) => {
  const shot = picture(words.gone);
  const frame = element("div", { className: "cscs-frame" }, shot.image, shot.gone);
  const caption = element("div", { className: "cscs-caption", ariaLive: "polite" });
  const root = element("div", { className: "cscs-view" }, element("div", { className: "cscs-room" }, frame), caption);
  /** @type {[Face, HTMLButtonElement][]} */
  let buttons = [];

  const refresh = () => {
    const text = choice.read();
    const linked = choice.linked();
    for (const [face, button] of buttons) {
      button.ariaPressed = String(isChosen(text, face.number));
      button.disabled = linked;
    }
    if (!buttons.length) caption.textContent = words.none;
    else caption.textContent = linked ? words.linked : describe(text, words);
  };

  /** @param {Face} face */
  const press = (face) => {
    choice.write(toggle(choice.read(), face.number));
    refresh();
  };

  /** @param {Sheet} sheet */
  const show = (sheet) => {
    shot.show(address(sheet));
    frame.style.setProperty("--ratio", String(sheet.width / sheet.height));
    for (const [, button] of buttons) button.remove();
    buttons = sheet.faces.map((face) => {
      const label = element("span", { className: "cscs-number", textContent: String(face.number) });
      const button = element("button", { className: "cscs-face", type: "button" }, label);
      button.ariaLabel = words.face(face.number);
      button.title = `${button.ariaLabel}, ${words.score(face.score.toFixed(2))}`;
      const { left, top, width, height } = place(face.box, sheet.width, sheet.height);
      Object.assign(button.style, { left: `${left}%`, top: `${top}%`, width: `${width}%`, height: `${height}%` });
      button.addEventListener("click", () => press(face));
      return [face, button];
    });
    frame.append(...buttons.map(([, button]) => button));
    refresh();
  };

  return { element: root, show, refresh };
};
