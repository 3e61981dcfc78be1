import { Tensor } from './tensor.js';

/** A tensor, or arrays and plain objects of tensors: how parameters and results are passed. */
export type Tree = Tensor | readonly Tree[] | { readonly [key: string]: Tree };

/** Every tensor of a tree in a fixed order (arrays by index, objects by insertion). Skips anything else. */
export function leavesOf(tree: unknown): Tensor[] {
  if (tree instanceof Tensor) return [tree];
  if (Array.isArray(tree)) return tree.flatMap(leavesOf);
  if (isPlainObject(tree)) return Object.values(tree).flatMap(leavesOf);
  return [];
}

/** A tree of the same form with each tensor replaced. */
export function mapTree<T>(tree: T, replace: (leaf: Tensor) => Tensor): T {
  const walk = (node: unknown): unknown => {
    if (node instanceof Tensor) return replace(node);
    if (Array.isArray(node)) return node.map(walk);
    if (isPlainObject(node)) {
      return Object.fromEntries(Object.entries(node).map(([key, child]) => [key, walk(child)]));
    }
    return node;
  };
  return walk(tree) as T;
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}
