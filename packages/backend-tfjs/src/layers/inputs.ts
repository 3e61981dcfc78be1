import { TopKError } from '@topk-attention/core';
import type { TfTensor } from '../tf.js';
import type { Shape } from './full-tf.js';

/** tfjs passes one shape, or a list of them. */
export function shapeList(shapes: Shape | Shape[]): Shape[] {
  return shapes.every(Array.isArray) && shapes.length > 0 ? (shapes as Shape[]) : [shapes as Shape];
}

export function tensorList(inputs: TfTensor | TfTensor[]): TfTensor[] {
  return Array.isArray(inputs) ? inputs : [inputs];
}

/** The only input of a layer that takes one. */
export function single<T>(where: string, list: readonly T[]): T {
  const [one] = list;
  if (list.length === 1 && one !== undefined) return one;
  throw new TopKError('SHAPE_MISMATCH', `${where}: wrong number of inputs`, {
    expected: '1',
    got: String(list.length),
    fix: 'Apply the layer to one tensor',
  });
}

/** Query, value (default: query) and key (default: value), and an attention mask if given. */
export function attentionInputs<T>(
  where: string,
  list: readonly T[],
): readonly [query: T, value: T, key: T, attentionMask: T | undefined] {
  const [query, value, key, attentionMask] = list;
  if (query !== undefined && list.length <= 4)
    return [query, value ?? query, key ?? value ?? query, attentionMask];
  throw new TopKError('SHAPE_MISMATCH', `${where}: wrong number of inputs`, {
    expected: '1 to 4: query, [query, value], [query, value, key] or [query, value, key, attentionMask]',
    got: String(list.length),
    fix: 'Self-attention takes one input, cross-attention [query, value]',
  });
}

/** x, and an attention mask if given. */
export function blockInputs<T>(
  where: string,
  list: readonly T[],
): readonly [x: T, attentionMask: T | undefined] {
  const [x, attentionMask] = list;
  if (x !== undefined && list.length <= 2) return [x, attentionMask];
  throw new TopKError('SHAPE_MISMATCH', `${where}: wrong number of inputs`, {
    expected: '1 or 2: x or [x, attentionMask]',
    got: String(list.length),
    fix: 'For cross-attention add a TopKMultiHeadAttention layer',
  });
}

/** The last dim of an input, which determines the shapes of the weights. */
export function lastDim(where: string, name: string, shape: Shape, ranks: 'sequence' | 'any'): number {
  const rankFits = ranks === 'sequence' ? shape.length === 3 : shape.length >= 2;
  if (!rankFits) {
    throw new TopKError('RANK_MISMATCH', `${where}: ${name} has the wrong rank`, {
      expected: ranks === 'sequence' ? '3: [batch, length, dim]' : '2 or more: [batch, ..., dim]',
      got: printShape(shape),
      fix: ranks === 'sequence' ? 'Put batch and length first; length may be null' : 'Put the batch first',
    });
  }
  const dim = shape.at(-1);
  if (typeof dim === 'number' && dim > 0) return dim;
  throw new TopKError('SHAPE_MISMATCH', `${where}: ${name} has no last dim`, {
    expected: 'a number, which determines the shapes of the weights',
    got: printShape(shape),
    fix: 'Only batch and lengths may be null',
  });
}

/** Checks a call's input against the last dim that the weights were built for. */
export function requireDim(
  where: string,
  name: string,
  one: TfTensor,
  dim: number,
  ranks: 'sequence' | 'any',
): void {
  const got = lastDim(where, name, one.shape, ranks);
  if (one.dtype !== 'float32') {
    throw new TopKError('DTYPE_MISMATCH', `${where}: ${name} has the wrong dtype`, {
      expected: 'float32',
      got: one.dtype,
      fix: 'Put tf.layers.embedding before it where these are token ids',
    });
  }
  if (got === dim) return;
  throw new TopKError('SHAPE_MISMATCH', `${where}: ${name} does not match the weights`, {
    expected: `[..., ${dim}]`,
    got: printShape(one.shape),
    fix: 'The layer was built for inputs of another last dim',
  });
}

export function printShape(shape: Shape): string {
  return `[${shape.map((dim) => dim ?? 'null').join(', ')}]`;
}

/** What `build` made. */
export function built<T>(where: string, made: T | undefined): T {
  if (made !== undefined) return made;
  throw new TopKError('INVALID_OPTION', `${where}: the layer has no weights yet`, {
    expected: 'a built layer',
    got: 'a call before build',
    fix: 'Use apply, which builds the layer on its first inputs',
  });
}
