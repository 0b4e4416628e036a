// @ts-check
/** The panel of a node after a run: a strip with a few words, below it the faces to pick or two images. */

import { createCompare } from "./compare.js";
import { element } from "./element.js";
import { createPicker } from "./picker.js";

const STRIP = 24; // px
const CAPTION = 24;
const VIEW = 140; // px, the minimum for an image with its caption
const MOST = 480; // px, the most that an image asks for; the user may make the node taller

/**
 * @typedef {object} Output what the host sends after a node ran; see nodes/node_ui.py
 * @property {string[]} [cscs_badge]
 * @property {import("./picker.js").Sheet[]} [cscs_picker]
 * @property {import("./compare.js").Pair[]} [cscs_compare]
 */

/**
 * Whether a message has anything for the panel.
 *
 * @param {any} output
 */
export const concerns = (output) =>
  ["cscs_badge", "cscs_picker", "cscs_compare"].some((key) => output?.[key]?.length > 0);

/**
 * @param {(file: import("./picker.js").File) => string} address
 * @param {import("./picker.js").Choice | null} choice null: this node has nothing to pick
 * @param {import("./words.js").Words} words
 * @param {(ratio: number) => void} seen called once, when the first image has loaded, with its height over its width
 */
export const createPanel = (address, choice, words, seen) => {
  const picker = choice && createPicker(address, choice, words);
  const compare = createCompare(address, words);
  /** @type {Output} */
  let output = {};
  let wish = "compare";
  let frame = 0;
  let running = "";

  const says = element("span", { className: "cscs-badge" });
  const count = element("span", { className: "cscs-count" });
  const back = arrow("\u2039", words.back, () => turn(-1));
  const on = arrow("\u203a", words.on, () => turn(1));
  const pages = element("span", { className: "cscs-pages" }, back, count, on);
  const tabs = { picker: tab(words.faces, () => open("picker")), compare: tab(words.compare, () => open("compare")) };
  const choices = element("span", { className: "cscs-tabs" }, tabs.picker, tabs.compare);
  const strip = element("div", { className: "cscs-strip" }, says, pages, choices);
  const root = element("div", { className: "cscs-panel" }, strip);
  if (picker) root.append(picker.element);
  root.append(compare.element);

  /** @param {Event} event */
  const measure = ({ target }) => {
    if (!(target instanceof HTMLImageElement)) return;
    root.removeEventListener("load", measure, true);
    seen(target.naturalHeight / target.naturalWidth);
  };
  root.addEventListener("load", measure, true); // it does not bubble

  const sheets = () => (picker && output.cscs_picker) || [];
  const pairs = () => output.cscs_compare ?? [];
  const tall = () => sheets().length + pairs().length > 0;
  const height = () => STRIP + (tall() ? VIEW : 0);

  const draw = () => {
    const both = sheets().length > 0 && pairs().length > 0;
    const view = both ? wish : sheets().length ? "picker" : "compare";
    const length = (view === "picker" ? sheets() : pairs()).length;
    const at = Math.min(frame, Math.max(0, length - 1));
    says.textContent = says.title = running || output.cscs_badge?.[0] || "";
    count.textContent = `${at + 1}/${length}`;
    back.disabled = at === 0;
    on.disabled = at >= length - 1;
    pages.hidden = length < 2;
    choices.hidden = !both;
    tabs.picker.ariaPressed = String(view === "picker");
    tabs.compare.ariaPressed = String(view === "compare");
    if (picker) picker.element.hidden = view !== "picker" || !length;
    compare.element.hidden = view !== "compare" || !length;
    if (view === "picker" && length) picker?.show(sheets()[at]);
    if (view === "compare" && length) compare.show(pairs()[at]);
    root.style.minHeight = `${height()}px`;
    frame = at;
  };

  /** @param {number} step */
  const turn = (step) => {
    frame += step;
    draw();
  };

  /** @param {"picker" | "compare"} view */
  const open = (view) => {
    wish = view;
    draw();
  };

  /** @param {Output} next */
  const show = (next) => {
    output = next;
    progress("");
  };

  /** @param {string} text the progress while the node runs, shown in place of the badge; "" if it does not run */
  const progress = (text) => {
    running = text;
    draw();
  };

  return { element: root, show, progress, empty: () => !concerns(output), refresh: () => picker?.refresh(), height, tall };
};

/**
 * The panel height at which an image fills its width.
 *
 * @param {number} width of the panel, px
 * @param {number} ratio height over width of the image
 */
export const fullHeight = (width, ratio) => STRIP + CAPTION + Math.min(MOST, Math.max(VIEW - CAPTION, width * ratio));

/**
 * @param {string} text
 * @param {string} label
 * @param {() => void} press
 */
const arrow = (text, label, press) => {
  const button = element("button", { className: "cscs-arrow", type: "button", textContent: text, ariaLabel: label });
  button.addEventListener("click", press);
  return button;
};

/**
 * @param {string} text
 * @param {() => void} press
 */
const tab = (text, press) => {
  const button = element("button", { className: "cscs-tab", type: "button", textContent: text });
  button.addEventListener("click", press);
  return button;
};
