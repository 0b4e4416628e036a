// @ts-check
/** Connects the scripts of this folder to ComfyUI. A node shows what it sends, whatever its name. */

// @ts-ignore served by the host
import { api } from "../../scripts/api.js";
// @ts-ignore served by the host
import { app } from "../../scripts/app.js";

import { offered, settings, start } from "./defaults.js";
import { element } from "./element.js";
import { executedNode, locatedNode } from "./graph.js";
import { concerns, createPanel, fullHeight } from "./panel.js";
import { reached } from "./progress.js";
import { wordsOf } from "./words.js";

const MARGIN = 8; // px around the panel in the classic canvas

/** @type {WeakMap<object, ReturnType<typeof createPanel>>} */
const panels = new WeakMap();
/** @type {Set<any>} nodes whose panel shows progress */
const running = new Set();
let made = 0;
/** @type {string[]} */
let detectors = ["lite"];

/** @param {{ filename: string, subfolder: string, type: string }} file */
const address = ({ filename, subfolder, type }) =>
  api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);

/**
 * The user may have opened another workflow in the meantime, in which the node of that number is not ours.
 *
 * @param {any} node
 */
const ours = (node) => Boolean(node?.comfyClass?.startsWith("CSCS_"));

/**
 * The node's `faces_index`, if it has one.
 *
 * @param {any} node
 * @returns {import("./picker.js").Choice | null}
 */
const choiceOf = (node) => {
  const widget = node.widgets?.find((/** @type {any} */ other) => other.name === "faces_index");
  if (!widget) return null;
  const { callback } = widget;
  widget.callback = (/** @type {any[]} */ ...given) => {
    callback?.apply(widget, given);
    panels.get(node)?.refresh();
  };
  return {
    read: () => String(widget.value ?? ""),
    write: (text) => {
      app.canvas.emitBeforeChange(); // between these two: one undo step
      widget.value = text;
      widget.callback(text, app.canvas, node);
      app.canvas.emitAfterChange();
      node.setDirtyCanvas(true, true);
    },
    linked: () =>
      Boolean(node.inputs?.some((/** @type {any} */ slot) => slot.widget?.name === "faces_index" && slot.link != null)),
  };
};

const nodes2 = () => app.extensionManager.setting.get("Comfy.VueNodes.Enabled");

const words = () => wordsOf(app.extensionManager.setting.get("Comfy.Locale"));

/**
 * Makes a node tall enough for its widgets.
 *
 * @param {any} node
 * @param {number} more px above the minimum
 */
const grow = (node, more = 0) => {
  const [width, height] = node.computeSize();
  node.setSize([Math.max(width, node.size[0]), Math.max(height + more, node.size[1])]);
};

/**
 * The same in Nodes 2.0, where the page itself ensures the minimum and collapsed inputs take no space.
 *
 * @param {any} node
 * @param {HTMLElement} panel
 * @param {number} height px that the panel needs
 */
const stretch = (node, panel, height) =>
  requestAnimationFrame(() => {
    const lacking = height - panel.offsetHeight;
    if (panel.isConnected && lacking > 0) node.setSize([node.size[0], node.size[1] + lacking]);
  });

/** @param {any} node */
const attach = (node) => {
  const panel = createPanel(address, choiceOf(node), words(), (ratio) => {
    const height = fullHeight(node.size[0] - 2 * MARGIN, ratio);
    if (nodes2()) stretch(node, panel.element, height);
    else grow(node, Math.max(0, height - panel.height()));
  });
  panel.element.addEventListener("wheel", (event) => {
    if (!nodes2()) app.canvas.processMouseWheel(event); // Nodes 2.0 does this itself
  });
  const least = () => panel.height() + 2 * MARGIN;
  made += 1; // a new name each time: after undo, Nodes 2.0 keeps showing the old element of a widget with this name
  const widget = node.addDOMWidget(`cscs_panel_${made}`, "CSCS_PANEL", panel.element, {
    serialize: false,
    hideOnZoom: false,
    margin: MARGIN,
    getMinHeight: least,
    getMaxHeight: () => (panel.tall() ? undefined : least()),
  });
  widget.serialize = false; // with the option alone, the saved workflow still holds a value
  panels.set(node, panel);
  return panel;
};

/**
 * Removes the panel of a node that showed only its progress.
 *
 * @param {any} node
 */
const detach = (node) => {
  panels.delete(node);
  node.removeWidget(node.widgets.find((/** @type {any} */ widget) => widget.type === "CSCS_PANEL"));
};

/**
 * @param {any} node
 * @param {any} output
 */
const show = (node, output) => {
  if (!ours(node) || !concerns(output)) return;
  const panel = panels.get(node) ?? attach(node);
  panel.show(output);
  if (!nodes2()) grow(node);
  node.setDirtyCanvas(true, true);
};

/**
 * @param {any} node
 * @param {import("./progress.js").Steps | null} steps null if it does not run
 */
const tell = (node, steps) => {
  if (!ours(node) || !(steps || running.has(node))) return;
  const panel = panels.get(node) ?? attach(node);
  panel.progress(steps ? words().reached(steps.value, steps.max) : "");
  if (steps) running.add(node);
  else running.delete(node);
  if (!steps && panel.empty()) detach(node);
  else if (!nodes2()) grow(node);
  node.setDirtyCanvas(true, true);
};

/** @param {CustomEvent} event */
const tellAll = ({ detail }) => {
  for (const [id, steps] of reached(detail)) tell(executedNode(app.rootGraph ?? app.graph, id), steps);
};

const tellEnd = () => {
  for (const node of running) tell(node, null);
};

/** @param {Record<string, any>} outputs as the page keeps them, for example after the workflow changed */
const showAll = (outputs) => {
  for (const [id, output] of Object.entries(outputs ?? {})) show(locatedNode(app.rootGraph ?? app.graph, id), output);
};

app.registerExtension({
  name: "CSCS",
  settings: settings(() => detectors),
  addCustomNodeDefs: (/** @type {Record<string, any>} */ definitions) => {
    detectors = offered(definitions.CSCS_DetectFaces, "detector");
  },
  nodeCreated: (/** @type {any} */ node) => {
    if (ours(node) && !app.configuringGraph) start(node, (id) => app.extensionManager.setting.get(id));
  },
  onNodeOutputsUpdated: showAll,
  afterConfigureGraph: () => showAll(app.nodeOutputs),
  setup: () => {
    const href = new URL("./cscs.css", import.meta.url).href;
    document.head.append(element("link", { rel: "stylesheet", href }));
    api.addEventListener("executed", (/** @type {CustomEvent} */ { detail }) => {
      show(executedNode(app.rootGraph ?? app.graph, detail.display_node ?? detail.node), detail.output);
    });
    for (const kind of ["progress", "progress_state"]) api.addEventListener(kind, tellAll);
    for (const kind of ["success", "error", "interrupted"]) api.addEventListener(`execution_${kind}`, tellEnd);
  },
});
