import { TopKError } from '../contract/errors.js';
import { describeValue } from './describe-value.js';
import { Tensor } from './tensor.js';

/** A tensor, or arrays and plain objects of tensors: how parameters and results are passed. */
export type Tree = Tensor | readonly Tree[] | { readonly [key: string]: Tree };

/** Every tensor of a tree in a fixed order (arrays by index, objects by insertion). Skips anything else. */
export function leavesOf(tree: unknown): Tensor[] {
  const leaves: Tensor[] = [];
  collectLeaves(tree, leaves);
  return leaves;
}

function collectLeaves(tree: unknown, leaves: Tensor[]): void {
  if (tree instanceof Tensor) leaves.push(tree);
  else if (Array.isArray(tree)) for (const one of tree) collectLeaves(one, leaves);
  else if (isPlainObject(tree)) for (const key of Object.keys(tree)) collectLeaves(tree[key], leaves);
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

/**
 * Checks that a value holds nothing but tensors.
 *
 * @param where for the error: 'recordedStep'
 * @param path of the value, for the error: 'state'
 * @throws TopKError INVALID_OPTION
 */
export function requireTree(where: string, path: string, value: unknown, fix: string): asserts value is Tree {
  if (value instanceof Tensor) return;
  if (!Array.isArray(value) && !isPlainObject(value)) {
    throw new TopKError('INVALID_OPTION', `${where}: ${path} is not a tensor`, {
      expected: 'tensors, and arrays and plain objects of them',
      got: describeValue(value),
      fix,
    });
  }
  for (const [key, one] of Object.entries(value)) {
    requireTree(where, Array.isArray(value) ? `${path}[${key}]` : `${path}.${key}`, one, fix);
  }
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}
