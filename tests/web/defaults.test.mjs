import assert from "node:assert/strict";
import { test } from "node:test";

import { offered, settings, start } from "../../web/defaults.js";

const wanted = { "CSCS.Detector": "buffalo_l", "CSCS.Device": "cpu", "CSCS.Provenance": false };
const setting = (id) => wanted[id];

test("a new node starts with the settings", () => {
  const widgets = [
    { name: "detector", value: "lite", options: { values: ["lite", "buffalo_l"] } },
    { name: "provenance", value: true },
    { name: "strength", value: 1 },
  ];
  start({ widgets }, setting);
  assert.deepEqual(widgets.map(({ value }) => value), ["buffalo_l", false, 1]);
});

test("a combo never gets what it does not offer", () => {
  const widgets = [{ name: "detector", value: "lite", options: { values: ["lite"] } }];
  start({ widgets }, setting);
  assert.equal(widgets[0].value, "lite");
});

test("a node without widgets, and a setting that is unknown, change nothing", () => {
  start({}, setting);
  const widgets = [{ name: "device", value: "auto" }];
  start({ widgets }, () => undefined);
  assert.equal(widgets[0].value, "auto");
});

test("a combo's options are read in both ways that the host writes them", () => {
  assert.deepEqual(offered({ input: { optional: { a: ["COMBO", { options: ["x", "y"] }] } } }, "a"), ["x", "y"]);
  assert.deepEqual(offered({ input: { required: { a: [["x"], {}] } } }, "a"), ["x"]);
  assert.deepEqual(offered(undefined, "a"), []);
});

test("every setting has a name, a tooltip and a place", () => {
  for (const entry of settings(() => [])) {
    assert.ok(entry.name && entry.tooltip && entry.category[0] === "CSCS", entry.id);
  }
});
