// @ts-check
/** Progress of nodes, from the messages of the host while it runs. */

/**
 * @typedef {{ value: number, max: number, state: string, display_node_id?: string | null }} State
 * @typedef {{ nodes?: Record<string, State>, node?: string | number | null, value?: number, max?: number }} Message
 * @typedef {{ value: number, max: number }} Steps
 */

/**
 * The nodes in a `progress_state` or `progress` message, by the id that the page uses: steps done and steps in
 * total, or null for a node that does not run or has only one step. If several nodes are shown as one, as in a loop,
 * the running one counts.
 *
 * @param {Message} message
 * @returns {Map<string, Steps | null>}
 */
export const reached = (message) => {
  const { node, value = 0, max = 0 } = message;
  const nodes = message.nodes ?? { [String(node)]: { value, max, state: "running" } };
  /** @type {Map<string, Steps | null>} */
  const steps = new Map();
  for (const [id, { value, max, state, display_node_id }] of Object.entries(nodes)) {
    const shown = String(display_node_id ?? id);
    const runs = state === "running" && max > 1;
    if (runs || !steps.has(shown)) steps.set(shown, runs ? { value, max } : null);
  }
  return steps;
};
