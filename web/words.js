// @ts-check
/** The texts of a panel, in the languages of locales/. */

const en = {
  before: "before",
  after: "after",
  divider: "Before and after",
  share: (/** @type {number} */ percent) => `${percent}% before`,
  gone: "The image is no longer available. Run the workflow again.",
  faces: "Faces",
  compare: "Compare",
  back: "Previous image",
  on: "Next image",
  face: (/** @type {number} */ number) => `Face ${number}`,
  score: (/** @type {string} */ score) => `score ${score}`,
  none: "No face in this image.",
  linked: "faces_index is connected and decides.",
  all: "All faces. Click one to choose it.",
  chosen: (/** @type {string} */ numbers) => `Chosen: ${numbers}`,
  unread: "faces_index is not a list of numbers. Click a face to start a new one.",
  reached: (/** @type {number} */ value, /** @type {number} */ max) => `${value} of ${max}`,
};

/** @typedef {typeof en} Words */

/** @type {Words} */
const zh = {
  before: "处理前",
  after: "处理后",
  divider: "处理前后对比",
  share: (percent) => `处理前占 ${percent}%`,
  gone: "图像已不可用，请重新运行工作流。",
  faces: "人脸",
  compare: "对比",
  back: "上一张图像",
  on: "下一张图像",
  face: (number) => `人脸 ${number}`,
  score: (score) => `置信度 ${score}`,
  none: "图像中没有人脸。",
  linked: "“人脸编号”已连接，由其输入决定。",
  all: "全部人脸。点击其中一张来选择。",
  chosen: (numbers) => `已选：${numbers}`,
  unread: "“人脸编号”不是编号列表。点击一张人脸重新开始。",
  reached: (value, max) => `${value} / ${max}`,
};

/** @type {Record<string, Words>} */
export const WORDS = { en, zh };

/**
 * @param {string} locale as in the page's settings
 * @returns {Words} English where there is no table
 */
export const wordsOf = (locale) => WORDS[locale] ?? en;
