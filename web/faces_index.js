// @ts-check
/** The text of a `faces_index` widget: "" means all faces, "0,2" the faces 0 and 2. */

/**
 * @param {string} text
 * @returns {number[] | null} the numbers as written, null if the text is not a list of numbers; [] means "all"
 */
export const parse = (text) => {
  if (!text.trim()) return [];
  const parts = text.split(",").map((part) => part.trim());
  return parts.every((part) => /^[0-9]+$/.test(part)) ? parts.map(Number) : null;
};

/**
 * The text after a click on a face, which removes the number or adds it. Unreadable text and "all" start a new list.
 *
 * @param {string} text
 * @param {number} number
 */
export const toggle = (text, number) => {
  const numbers = parse(text) ?? [];
  const rest = numbers.filter((other) => other !== number);
  return format(rest.length < numbers.length ? rest : [...rest, number]);
};

/**
 * @param {number[]} numbers
 * @returns {string} each number once, ascending
 */
export const format = (numbers) => [...new Set(numbers)].sort((a, b) => a - b).join(",");

/**
 * Whether the text includes a face.
 *
 * @param {string} text
 * @param {number} number
 */
export const isChosen = (text, number) => {
  const numbers = parse(text);
  return numbers !== null && (numbers.length === 0 || numbers.includes(number));
};

/**
 * The text in words.
 *
 * @param {string} text
 * @param {import("./words.js").Words} words
 */
export const describe = (text, words) => {
  const numbers = parse(text);
  if (numbers === null) return words.unread;
  if (!numbers.length) return words.all;
  return words.chosen(format(numbers).replaceAll(",", ", "));
};
