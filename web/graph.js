// @ts-check
/** The node that a message of the host refers to, including subgraphs. */

/**
 * The parts of a node and of a graph that are used here.
 *
 * @typedef {{ widgets?: any[], subgraph?: Graph }} Node
 * @typedef {{ getNodeById: (id: any) => any, subgraphs?: Map<string, Graph> }} Graph
 */

/**
 * The node of an `executed` message: "7" is in the outermost graph, "4:7" is node 7 in the subgraph of node 4.
 *
 * @param {Graph} root
 * @param {string | number} id
 * @returns {any} null if there is no such node
 */
export const executedNode = (root, id) => {
  /** @type {Graph | undefined} */
  let graph = root;
  let node = null;
  for (const step of String(id).split(":")) {
    node = byId(graph, step);
    graph = node?.subgraph;
  }
  return node;
};

/**
 * The node whose outputs the page keeps: "7", or "<id of the subgraph>:7".
 *
 * @param {Graph} root
 * @param {string} id
 * @returns {any} null if there is no such node
 */
export const locatedNode = (root, id) => {
  const [node, subgraph] = id.split(":").reverse();
  return byId(subgraph ? root.subgraphs?.get(subgraph) : root, node);
};

/**
 * Ids are numbers in some versions of the page and strings in others.
 *
 * @param {Graph | undefined} graph
 * @param {string} id
 */
const byId = (graph, id) => graph?.getNodeById(id) ?? graph?.getNodeById(Number(id)) ?? null;
