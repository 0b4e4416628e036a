// @ts-check
/** Defaults of new nodes, from the user's settings. */

/** Settings by the name of the widget whose default they set. */
export const SETTINGS = { detector: "CSCS.Detector", device: "CSCS.Device", provenance: "CSCS.Provenance" };

/**
 * Entries of the host's settings dialog.
 *
 * @param {() => string[]} detectors the available detectors
 */
export const settings = (detectors) => [
  {
    id: SETTINGS.provenance,
    name: "Mark saved images as edited by AI",
    category: ["CSCS", "New nodes", "Provenance"],
    tooltip: "Default of new Save Image with Provenance nodes.",
    type: "boolean",
    defaultValue: true,
  },
  {
    id: SETTINGS.device,
    name: "Device for networks",
    category: ["CSCS", "New nodes", "Device"],
    tooltip: "Default of new nodes. auto is ComfyUI's device.",
    type: "combo",
    options: ["auto", "cpu"],
    defaultValue: "auto",
  },
  {
    id: SETTINGS.detector,
    name: "Detector",
    category: ["CSCS", "New nodes", "Detector"],
    tooltip: "Default face detector of new nodes. lite is bundled.",
    type: "combo",
    options: detectors,
    defaultValue: "lite",
  },
];

/**
 * Sets the widgets of a newly created node to the values from the settings. A value that a combo does not offer (a file
 * that was removed) is skipped.
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
