import {
  add,
  cast,
  custom,
  div,
  eq,
  fill,
  max,
  maxOver,
  mul,
  scope,
  sqrt,
  sub,
  sum,
  type Tensor,
  where,
} from '@topk-attention/core';
import type { Mechanism, MechanismCall } from '@topk-attention/nn';
import { shown } from './inputs.js';
import { stepWithKeys } from './kept-tokens.js';
import { pairAttention } from './pairs.js';
import { attendInChunks, type ChunkCall } from './query-chunks.js';
import { notSoftmax } from './refusals.js';

/**
 * Newton's steps for rows of n entries. The length of the part above tau is convex in tau: a step that leaves the share r of
 * the slope leaves at most 1 - r of what the length is above 1. The slope lies between 1 and the root of n, so that it can
 * be halved log2(n) / 2 times; then right digits double. Of rows with 16,384 entries the worst that a search found need 9
 * steps to be right in f32, with 1,024 entries 7, and with 128 entries 6: there are two more.
 */
function stepsOf(entries: number): number {
  return 4 + Math.ceil(Math.log2(Math.max(1, entries)) / 2);
}

const rows = { axes: [-1], keepDims: true } as const;

/**
 * Entmax with alpha = 1.5 over the last axis: p = max(z / 2 - tau, 0)^2, with tau such that p sums to 1. Many entries are
 * exactly 0. -inf gives 0, a row of all -inf zeros. tau is found by Newton's method on the length of max(z / 2 - tau, 0),
 * which is convex in tau, so that it is approached from one side; each step solves rows of equal entries at once.
 * The gradient is exact: s (g - (s . g) / sum s) with s = sqrt(p). Takes three tensors of the size of the scores while
 * it runs, and keeps its result for the gradient.
 */
export function entmax15(scores: Tensor): Tensor {
  const [weights] = custom(
    'entmax15',
    [scores],
    () => {
      const made = scope(() => {
        const halves = halvesBelowLargest(scores);
        const threshold = thresholdOf(halves);
        const part = partAbove(halves, threshold);
        halves.dispose();
        const unit = scope(() => {
          const length = lengthOf(part);
          return div(part, where(eq(length, 0), 1, length));
        });
        part.dispose();
        return mul(unit, unit);
      });
      return { outputs: [made], saved: [made] };
    },
    (ops, [g], [made]) => {
      const [own, arrived] = [ops.sqrt(made as Tensor), g as Tensor];
      const along = scope(() => ops.sum(ops.mul(own, arrived), rows));
      const total = ops.sum(own, rows);
      const mean = ops.div(along, ops.where(ops.eq(total, 0), 1, total));
      const rest = ops.sub(arrived, mean);
      return [ops.mul(own, rest)];
    },
  );
  return weights as Tensor;
}

/** z / 2 less the largest of its row. */
function halvesBelowLargest(scores: Tensor): Tensor {
  return scope(() => {
    const largest = maxOver(scores, rows);
    const level = where(eq(largest, Number.NEGATIVE_INFINITY), 0, largest);
    return mul(sub(scores, level), 0.5);
  });
}

/** tau of each row [..., 1]. The largest entry is 0, so that tau is at least -1. */
function thresholdOf(halves: Tensor): Tensor {
  let threshold = fill(halves.backend, -1, [...halves.shape.slice(0, -1), 1], halves.dtype);
  for (let step = stepsOf(halves.shape.at(-1) as number); step > 0; step--) {
    const next = scope(() => {
      const part = partAbove(halves, threshold);
      const total = sum(part, rows);
      const length = lengthOf(part);
      const change = div(mul(sub(length, 1), length), where(eq(total, 0), 1, total));
      return add(threshold, change);
    });
    threshold.dispose();
    threshold = next;
  }
  return threshold;
}

/** max(x - threshold, 0) */
function partAbove(x: Tensor, threshold: Tensor): Tensor {
  return scope(() => max(sub(x, threshold), 0));
}

function lengthOf(part: Tensor): Tensor {
  return scope(() => sqrt(sum(mul(part, part), rows)));
}

/**
 * Softmax replaced by entmax with alpha = 1.5 (Peters et al., 2019): most weights of a trained row are exactly 0. What
 * `sparsefinder` predicts the graph of. Queries go in chunks of at most 2^24 pairs over all examples and heads, 2^27 on large
 * devices with WebGPU, fewer with a run's `budgetBytes`. Chunks are computed again in the backward pass: memory is linear
 * in the length, besides a few tensors of 64 or 512 MiB.
 *
 * @example
 * const layer = attentionLayer({ width: 64, heads: 4, mechanism: entmaxAttention() });
 */
export function entmaxAttention(): Mechanism {
  return {
    name: 'entmax',
    takes: ['causal', 'keyLengths', 'mask', 'bias', 'relativeBias', 'dropout', 'groupedHeads', 'decoding'],
    refusals: { zeroShot: notSoftmax },
    attend: (call) => attendAll(call),
    step: (call, state) => stepWithKeys(call, state, attendAll),
  };
}

/** Entmax over all keys. @param pairs most pairs of a chunk of queries */
export function attendAll(call: MechanismCall, pairs?: number): Tensor {
  return scope(() => cast(attendInChunks(call, attendChunk, pairs), call.value.dtype));
}

/** The same of all queries at once, in f32. */
function attendChunk(call: ChunkCall): Tensor {
  const scale = call.options.scale ?? (call.query.shape[3] as number) ** -0.5;
  const query = mul(cast(call.query, 'f32'), scale);
  return pairAttention(call, query, shown(call, call.key), { weigh: entmaxOf });
}

/** Weights of scores, 0 where a key is hidden. */
function entmaxOf(scores: Tensor, visible: Tensor | undefined): Tensor {
  if (visible === undefined) return entmax15(scores);
  return scope(() => entmax15(where(visible, scores, Number.NEGATIVE_INFINITY)));
}
