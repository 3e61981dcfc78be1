import { formatShape, TopKError } from '@topk-attention/core';
import { engineOf } from '../engine/engine.js';
import { normalizedBooleans } from '../ops/booleans.js';
import type { TfTensor } from '../tf.js';
import type { CallArgs, FullTf } from './full-tf.js';

/** Inputs of an attention layer: Keras' three, and a mask as a fourth. */
export interface AttentionTensors {
  /** [B, Lq, Dq] */
  readonly query: TfTensor;
  /** [B, Lk, Dv] */
  readonly value: TfTensor;
  /** [B, Lk, Dk] */
  readonly key: TfTensor;
  /** [B, Lk], [B, Lq, Lk] or [B, H, Lq, Lk]; not 0 = keep. */
  readonly attentionMask?: TfTensor;
}

/**
 * The visible keys, as bool with four dims, each 1 or that of [B, H, Lq, Lk]; undefined when all are visible.
 *
 * Combines the call's `attentionMask`, the fourth input, and Keras' padding masks. Those come in three ways: `mask` of
 * the call as one tensor (in a model: that of the layer's *first* input only), `mask` as a list (from the caller), and
 * `kerasMask` of a tensor (where layers are called directly).
 *
 * The query's own mask hides no keys: rows of padding are computed, and dropped by the reader of the output.
 */
export function keysToSee(
  tf: FullTf,
  where: string,
  inputs: AttentionTensors,
  call: CallArgs,
): TfTensor | undefined {
  const [batch = 0, queryLength = 0] = inputs.query.shape;
  const [, keyLength = 0] = inputs.value.shape;
  const masks = [
    ...paddingMasks(tf, where, inputs, call).map((one) => paddingMask(tf, where, one, [batch, keyLength])),
    ...[inputs.attentionMask, tensorOrNone(tf, where, 'attentionMask', call.attentionMask)]
      .filter((one) => one !== undefined)
      .map((one) => attentionMask(tf, where, one, [batch, queryLength, keyLength])),
  ];
  return masks.length === 0 ? undefined : masks.reduce((all, one) => tf.logicalAnd(all, one));
}

/** An argument of the call that must be a tensor if given. */
export function tensorOrNone(tf: FullTf, where: string, name: string, value: unknown): TfTensor | undefined {
  if (value === undefined || value === null) return undefined;
  if (!(value instanceof tf.Tensor)) {
    throw new TopKError('INVALID_OPTION', `${where}: bad ${name}`, {
      expected: 'a tf.Tensor',
      got: typeof value,
      fix: 'Use one made by the same tf',
    });
  }
  if (value.isDisposed) {
    throw new TopKError('DISPOSED', `${where}: ${name} is disposed`, {
      expected: 'a live tensor',
      got: `a disposed one of shape ${formatShape(value.shape)}`,
      fix: 'Keep it: tf.keep, or return it from tf.tidy',
    });
  }
  return value;
}

function paddingMasks(tf: FullTf, where: string, inputs: AttentionTensors, call: CallArgs): TfTensor[] {
  const { query, value, key } = inputs;
  const { mask } = call;
  const found = Array.isArray(mask)
    ? maskList(mask)
    : [
        value === query ? (mask ?? value.kerasMask) : value.kerasMask,
        key === value ? undefined : key.kerasMask,
      ];
  return found.map((one) => tensorOrNone(tf, where, 'mask', one)).filter((one) => one !== undefined);
}

/** Masks of value and key from a list in the order of the inputs; a list of one means self-attention. */
function maskList(masks: readonly unknown[]): unknown[] {
  return masks.length === 1 ? [masks[0]] : [masks[1], masks[2]];
}

function paddingMask(tf: FullTf, where: string, mask: TfTensor, expected: [number, number]): TfTensor {
  const [batch, keyLength] = expected;
  if (mask.rank === 2 && mask.shape[0] === batch && mask.shape[1] === keyLength) {
    return tf.reshape(asBool(tf, mask), [batch, 1, 1, keyLength]);
  }
  throw new TopKError('SHAPE_MISMATCH', `${where}: the padding mask has the wrong shape`, {
    expected: formatShape(expected),
    got: formatShape(mask.shape),
    fix: 'In a model, tfjs passes on the last mask it met: give the layer attentionMask as fourth input instead',
  });
}

function attentionMask(
  tf: FullTf,
  where: string,
  mask: TfTensor,
  [batch, queryLength, keyLength]: [number, number, number],
): TfTensor {
  const last = mask.shape.at(-1) === keyLength;
  const fits = (...dims: number[]) => dims.every((dim, axis) => [1, dim].includes(mask.shape[axis] ?? 0));
  if (last && mask.rank === 2 && fits(batch)) {
    return tf.reshape(asBool(tf, mask), [mask.shape[0] ?? 1, 1, 1, keyLength]);
  }
  if (last && mask.rank === 3 && fits(batch, queryLength)) {
    return tf.reshape(asBool(tf, mask), [mask.shape[0] ?? 1, 1, mask.shape[1] ?? 1, keyLength]);
  }
  // Heads are checked where their number is known.
  if (last && mask.rank === 4) return tf.reshape(asBool(tf, mask), mask.shape);
  throw new TopKError('SHAPE_MISMATCH', `${where}: attentionMask has the wrong shape`, {
    expected: `[${batch}, ${keyLength}], [${batch}, ${queryLength}, ${keyLength}] or [${batch}, heads, ${queryLength}, ${keyLength}]`,
    got: formatShape(mask.shape),
    fix: 'A key is kept where the mask is true, or not 0',
  });
}

/** By comparison: tf.cast keeps the low bits on some engines, so that 0.25 and 256 would hide a key. */
function asBool(tf: FullTf, mask: TfTensor): TfTensor {
  if (mask.dtype === 'bool') return normalizedBooleans(engineOf(tf), mask) ?? mask;
  return tf.notEqual(mask, tf.scalar(0, mask.dtype));
}

/** The padding mask of the first input when a layer is called directly: its output has the same padding. */
export function paddingOfOutput(inputs: TfTensor | TfTensor[], mask: unknown): TfTensor | undefined {
  const first = Array.isArray(inputs) ? inputs[0] : inputs;
  return mask === undefined ? first?.kerasMask : undefined;
}
