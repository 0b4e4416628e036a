// @ts-check
/** What the user wants new nodes to start with. */

/** Settings by the name of the widget that each gives its first value to. */
export const SETTINGS = { detector: "CSCS.Detector", device: "CSCS.Device", provenance: "CSCS.Provenance" };

/**
 * Entries of the host's settings dialog.
 *
 * @param {() => string[]} detectors the detectors there are
 */
export const settings = (detectors) => [
  {
    id: SETTINGS.provenance,
    name: "Mark saved pictures as changed by AI",
    category: ["CSCS", "New nodes", "Provenance"],
    tooltip: "What a new Save Image with Provenance node starts with.",
    type: "boolean",
    defaultValue: true,
  },
  {
    id: SETTINGS.device,
    name: "Where networks run",
    category: ["CSCS", "New nodes", "Device"],
    tooltip: "What new nodes start with: auto is the device of ComfyUI.",
    type: "combo",
    options: ["auto", "cpu"],
    defaultValue: "auto",
  },
  {
    id: SETTINGS.detector,
    name: "Detector",
    category: ["CSCS", "New nodes", "Detector"],
    tooltip: "What finds faces in new nodes. lite is bundled.",
    type: "combo",
    options: detectors,
    defaultValue: "lite",
  },
];

/**
 * Gives the widgets of a node that the user has just made the values from the settings; a value that a combo does not
 * offer (a file that is gone) is left out.
 *
 * @param {{ widgets?: { name: string, value: unknown, options?: { values?: unknown } }[] }} node
 * @param {(id: string) => unknown} setting
 */
export const start = (node, setting) => {
  for (const [name, id] of Object.entries(SETTINGS)) {
    const widget = node.widgets?.find((other) => other.name === name);
    const value = setting(id);
    if (!widget || value === undefined) continue;
    const offered = widget.options?.values;
    if (!Array.isArray(offered) || offered.includes(value)) widget.value = value;
  }
};

/**
 * The options of a combo input in the host's description of a node.
 *
 * @param {any} definition
 * @param {string} name
 * @returns {string[]}
 */
export const offered = (definition, name) => {
  const [kind, more] = definition?.input?.required?.[name] ?? definition?.input?.optional?.[name] ?? [];
  return (Array.isArray(kind) ? kind : more?.options) ?? [];
};
