import assert from "node:assert/strict";
import { test } from "node:test";

import { WORDS, wordsOf } from "../../web/words.js";

const said = (words) => Object.entries(words).map(([key, text]) => [key, typeof text === "function" ? text(3, 40) : text]);

test("every language says everything, in its own words, with the numbers it is given", () => {
  const english = new Map(said(WORDS.en));
  for (const [locale, words] of Object.entries(WORDS)) {
    assert.deepEqual(Object.keys(words), [...english.keys()], locale);
    for (const [key, text] of said(words)) {
      assert.ok(text, `${locale} ${key}`);
      if (locale !== "en") assert.notEqual(text, english.get(key), `${locale} ${key}`);
      if (typeof words[key] === "function") assert.match(text, words[key].length > 1 ? /3.*40/ : /3/, `${locale} ${key}`);
    }
  }
});

test("a language without a table reads English", () => {
  assert.equal(wordsOf("zh"), WORDS.zh);
  for (const locale of ["fr", "zh-TW", undefined]) assert.equal(wordsOf(locale), WORDS.en);
});
