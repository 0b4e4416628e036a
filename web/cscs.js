// @ts-check
/** Ties the pages of this folder to ComfyUI. What a node of ours shows is known by what it sends, not by its name. */

// @ts-ignore the host serves it
import { api } from "../../scripts/api.js";
// @ts-ignore the host serves it
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
/** @type {Set<any>} nodes whose panel says how far they are */
const running = new Set();
let made = 0;
/** @type {string[]} */
let detectors = ["lite"];

/** @param {{ filename: string, subfolder: string, type: string }} file */
const address = ({ filename, subfolder, type }) =>
  api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);

/**
 * A message of one workflow may meet the node of that number in another, which the user has opened meanwhile.
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
      app.canvas.emitBeforeChange(); // between these two, a step for undo
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
 * Makes a node high enough for its widgets.
 *
 * @param {any} node
 * @param {number} more px beyond the least
 */
const grow = (node, more = 0) => {
  const [width, height] = node.computeSize();
  node.setSize([Math.max(width, node.size[0]), Math.max(height + more, node.size[1])]);
};

/**
 * The same in Nodes 2.0, where the page itself sees to the least and folded inputs take no room.
 *
 * @param {any} node
 * @param {HTMLElement} panel
 * @param {number} height that the panel wants
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
    if (!nodes2()) app.canvas.processMouseWheel(event); // Nodes 2.0 does so itself
  });
  const least = () => panel.height() + 2 * MARGIN;
  made += 1; // undo makes the node anew, and Nodes 2.0 keeps showing the old element where the new widget has its name
  const widget = node.addDOMWidget(`cscs_panel_${made}`, "CSCS_PANEL", panel.element, {
    serialize: false,
    hideOnZoom: false,
    margin: MARGIN,
    getMinHeight: least,
    getMaxHeight: () => (panel.tall() ? undefined : least()),
  });
  widget.serialize = false; // the option alone still leaves a value in the saved workflow
  panels.set(node, panel);
  return panel;
};

/**
 * For a node that showed how far it was, and then nothing.
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
 * @param {import("./progress.js").Steps | null} steps null: it does not run
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

/** @param {Record<string, any>} outputs what the page keeps of the nodes that ran, as after a change of the workflow */
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
