import assert from "node:assert/strict";
import { test } from "node:test";

import { executedNode, locatedNode } from "../../web/graph.js";

const graph = (nodes, subgraphs = new Map()) => ({ getNodeById: (id) => nodes.get(id), subgraphs });
const leaf = { name: "leaf" };
const inner = graph(new Map([[7, leaf]]));
const middle = graph(new Map([[5, { subgraph: inner }]]));
const root = graph(new Map([[4, { subgraph: middle }]]), new Map([["a-b", middle], ["c-d", inner]]));

test("a message's node is found through the nodes it lies in", () => {
  assert.equal(executedNode(root, "4:5:7"), leaf);
  assert.equal(executedNode(inner, 7), leaf);
});

test("an id of another workflow finds nothing", () => {
  for (const id of ["9", "4:9", "9:9:9", ""]) assert.equal(executedNode(root, id), null, id);
});

test("the page's own names of nodes are found in the subgraph they name", () => {
  assert.equal(locatedNode(root, "c-d:7"), leaf);
  assert.equal(locatedNode(inner, "7"), leaf);
  assert.equal(locatedNode(root, "e-f:7"), null);
});

test("ids may be texts", () => {
  assert.equal(executedNode(graph(new Map([["7", leaf]])), "7"), leaf);
});
