import assert from "node:assert/strict";
import { test } from "node:test";

import { afterKey, percent, place } from "../../web/fit.js";

test("a box becomes percents of the picture, whatever size it is shown in", () => {
  assert.deepEqual(place([100, 50, 300, 150], 400, 200), { left: 25, top: 25, width: 50, height: 50 });
});

test("a box over the edge ends there", () => {
  assert.deepEqual(place([-40, 0, 200, 260], 400, 200), { left: 0, top: 0, width: 50, height: 100 });
});

test("the divider stays on the picture, also on one of no width", () => {
  assert.deepEqual([percent(-5, 100), percent(250, 200), percent(50, 200), percent(3, 0)], [0, 100, 25, 0]);
});

test("keys move the divider as they do in a slider", () => {
  assert.equal(afterKey(50, "ArrowRight"), 52);
  assert.equal(afterKey(50, "ArrowDown"), 48);
  assert.equal(afterKey(50, "ArrowLeft", true), 40);
  assert.equal(afterKey(95, "PageUp"), 100);
  assert.equal(afterKey(50, "Home"), 0);
  assert.equal(afterKey(50, "End"), 100);
  assert.equal(afterKey(50, "a"), null);
});
