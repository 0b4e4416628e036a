// @ts-check
/** HTML elements. */

/**
 * An element with its properties and children.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Partial<HTMLElementTagNameMap[Tag]>} properties
 * @param {...HTMLElement} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export const element = (tag, properties, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};

/**
 * An image, and the text shown instead if the host no longer has it: its temporary folder is emptied at startup.
 *
 * @param {string} words
 */
export const picture = (words, className = "") => {
  const image = element("img", { className: `cscs-picture ${className}`, alt: "", draggable: false });
  const gone = element("div", { className: "cscs-gone", textContent: words });
  gone.hidden = true;
  /** @param {boolean} missing */
  const mark = (missing) => {
    image.hidden = missing;
    gone.hidden = !missing;
  };
  image.addEventListener("error", () => mark(true));
  image.addEventListener("load", () => mark(false));
  /** @param {string} address */
  const show = (address) => {
    image.src = address;
  };
  return { image, gone, show };
};
