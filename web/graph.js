// @ts-check
/** Which node a message of the host means, subgraphs included. */

/**
 * The parts of a node and of a graph that are used here.
 *
 * @typedef {{ widgets?: any[], subgraph?: Graph }} Node
 * @typedef {{ getNodeById: (id: any) => any, subgraphs?: Map<string, Graph> }} Graph
 */

/**
 * The node of an `executed` message: "7" in the outermost graph, "4:7" is node 7 in the subgraph that node 4 stands for.
 *
 * @param {Graph} root
 * @param {string | number} id
 * @returns {any} null where there is no such node
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
 * The node that the page keeps outputs of: "7", or "<id of the subgraph>:7".
 *
 * @param {Graph} root
 * @param {string} id
 * @returns {any} null where there is no such node
 */
export const locatedNode = (root, id) => {
  const [node, subgraph] = id.split(":").reverse();
  return byId(subgraph ? root.subgraphs?.get(subgraph) : root, node);
};

/**
 * Ids are numbers in one version of the page and texts in another.
 *
 * @param {Graph | undefined} graph
 * @param {string} id
 */
const byId = (graph, id) => graph?.getNodeById(id) ?? graph?.getNodeById(Number(id)) ?? null;
