import assert from "node:assert/strict";
import { test } from "node:test";

import { describe, format, isChosen, parse, toggle } from "../../web/faces_index.js";
import { WORDS } from "../../web/words.js";

test("empty is all, anything but numbers and commas is nothing", () => {
  assert.deepEqual(parse("  "), []);
  assert.deepEqual(parse(" 2 ,0"), [2, 0]);
  for (const wrong of ["first", "1,", "-1", "1.5", "0 2", "1e3"]) assert.equal(parse(wrong), null, wrong);
});

test("numbers are written once, ascending by value", () => {
  assert.equal(format([10, 2, 2, 0]), "0,2,10");
});

test("a click on all starts a list, a second click on the same face ends it", () => {
  assert.equal(toggle("", 1), "1");
  assert.equal(toggle("1", 1), "");
  assert.equal(toggle("2, 0", 1), "0,1,2");
  assert.equal(toggle("0,2,2", 2), "0");
  assert.equal(toggle("first", 3), "3");
});

test("toggling twice gives the same faces back", () => {
  for (const text of ["0", "0,2", "1,4,10"])
    for (let number = 0; number < 12; number += 1) {
      if (text === String(number)) continue; // the last face taken out means all
      assert.equal(toggle(toggle(text, number), number), text);
    }
});

test("empty marks every face, unreadable text none", () => {
  assert.ok(isChosen("", 7));
  assert.ok(isChosen("7,1", 7));
  assert.ok(!isChosen("7,1", 0));
  assert.ok(!isChosen("7,x", 7));
});

test("what is chosen is said in words", () => {
  assert.equal(describe("2,0", WORDS.en), "Chosen: 0, 2");
  assert.match(describe("", WORDS.en), /^All faces/);
  assert.match(describe("x", WORDS.en), /not a list of numbers/);
});
