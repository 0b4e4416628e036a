import assert from "node:assert/strict";
import { test } from "node:test";

import { reached } from "../../web/progress.js";

const state = (value, max, state = "running", more = {}) => ({ value, max, state, ...more });

test("a node that runs tells its steps, one that has run or has one step tells none", () => {
  const nodes = { 1: state(3, 40), 2: state(40, 40, "finished"), 3: state(0, 1), 4: state(2, 9, "error") };
  assert.deepEqual([...reached({ nodes })], [["1", { value: 3, max: 40 }], ["2", null], ["3", null], ["4", null]]);
});

test("the older message names one node", () => {
  assert.deepEqual([...reached({ node: "4:7", value: 2, max: 5 })], [["4:7", { value: 2, max: 5 }]]);
  assert.deepEqual([...reached({ node: 7, value: 1, max: 1 })], [["7", null]]);
});

test("of the rounds of a loop, shown as one node, the one that runs counts", () => {
  const shown = { display_node_id: "7" };
  const nodes = { 7.1: state(9, 9, "finished", shown), 7.2: state(1, 9, "running", shown) };
  assert.deepEqual([...reached({ nodes })], [["7", { value: 1, max: 9 }]]);
  const other = { a: state(1, 9, "running", shown), b: state(9, 9, "finished", shown) };
  assert.deepEqual([...reached({ nodes: other })], [["7", { value: 1, max: 9 }]]);
});

test("a message of nothing is about nothing", () => {
  assert.equal(reached({ nodes: {} }).size, 0);
});
