import {
  arange,
  cast,
  describeValue,
  fill,
  max,
  min,
  reshape,
  type Tensor,
  TopKError,
  where,
} from '@topk-attention/core';
import { type MechanismCall, visibleKeys } from '@topk-attention/nn';

/** @throws TopKError INVALID_OPTION */
export function requireWhole(where: string, name: string, value: number, minimum: number): void {
  if (Number.isSafeInteger(value) && value >= minimum) return;
  throw new TopKError('INVALID_OPTION', `${where}: bad ${name}`, {
    expected: `a whole number of at least ${minimum}`,
    got: describeValue(value),
  });
}

/**
 * For an option that has no effect beside the others.
 *
 * @param goesWith what it has an effect with: "form: 'factorised'"
 * @param chosen what is chosen instead
 * @throws TopKError INVALID_OPTION if it is given
 */
export function refuseIdle(
  where: string,
  name: string,
  value: unknown,
  goesWith: string,
  chosen: string,
): void {
  if (value === undefined) return;
  throw new TopKError('INVALID_OPTION', `${where}: ${name} has no effect with ${chosen}`, {
    expected: `${name} with ${goesWith} alone`,
    got: `${name} ${describeValue(value)} with ${chosen}`,
  });
}

/** A finite number that is positive, or at least 0. @throws TopKError INVALID_OPTION */
export function requireNumber(
  where: string,
  name: string,
  value: number,
  from: 'positive' | 'any' | 0,
): void {
  if (Number.isFinite(value) && (from === 'any' || (from === 0 ? value >= 0 : value > 0))) return;
  throw new TopKError('INVALID_OPTION', `${where}: bad ${name}`, {
    expected:
      from === 'any' ? 'a finite number' : from === 0 ? 'a number of at least 0' : 'a positive number',
    got: describeValue(value),
  });
}

/**
 * x [B, keyValueHeads, Lk, ...] in f32, with `hidden` at padding keys. Keys, values and features need it alike: hidden
 * entries may be NaN, and 0 times NaN is NaN.
 */
export function shown(call: MechanismCall, x: Tensor, hidden = 0): Tensor {
  const visible = visibleKeys(call);
  const wide = cast(x, 'f32');
  return visible === undefined ? wide : where(visible, wide, hidden);
}

/**
 * Which queries of a call are no padding, bool [B, 1, Lq, 1]: those whose keys are none. Undefined if all count, as with
 * a source, whose lengths say nothing of the queries.
 */
export function visibleQueries(call: MechanismCall): Tensor | undefined {
  const same = call.fromSource !== true && call.query.shape[2] === call.key.shape[2];
  return same ? visibleKeys(call) : undefined;
}

/** The queries of a call in f32, with zeros at padding, which may be NaN. */
export function shownQuery(call: MechanismCall): Tensor {
  const visible = visibleQueries(call);
  const wide = cast(call.query, 'f32');
  return visible === undefined ? wide : where(visible, wide, 0);
}

/** How many keys each query sees, f32 [B, 1, 1 or Lq, 1], at least 1. @param before keys that are in a state */
export function keyCounts({ query, key, options }: MechanismCall, before = 0): Tensor {
  const { keyLengths, causal } = options;
  const [batch, , queries] = query.shape as readonly [number, number, number];
  const keys = (key.shape[2] as number) + before;
  const lengths =
    keyLengths === undefined
      ? fill(query.backend, keys, [1, 1, 1, 1], 'i32')
      : reshape(keyLengths, [batch, 1, 1, 1]);
  const counts =
    causal === true
      ? min(lengths, reshape(arange(query.backend, queries, keys - queries + 1), [1, 1, queries, 1]))
      : lengths;
  return max(cast(counts, 'f32'), 1);
}
