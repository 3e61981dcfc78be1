import type { Selection } from '../contract/choices.js';
import { arange, fill } from '../ops/create.js';
import { add, lt, mul, sub, where } from '../ops/elementwise.js';
import { concat, reshape } from '../ops/layout.js';
import { maxOver } from '../ops/reduce.js';
import { gatherRows, takeAlong, topK } from '../ops/select.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';

/** The k largest of each row, in one pass or by blocks, with bit-identical results. See `topK` for the contract. */
export function selectTopK(
  scores: Tensor,
  k: number,
  selection: Selection,
): { values: Tensor; indices: Tensor } {
  return selection.levels === 1 ? topK(scores, k) : selectByBlocks(scores, k, selection.blockSize);
}

/**
 * Exact two-level selection: the k largest of a row lie in the k blocks with the largest maxima. Those blocks are
 * taken in ascending order, so that candidates keep the order of their keys and ties break to the lower index.
 */
function selectByBlocks(scores: Tensor, k: number, blockSize: number): { values: Tensor; indices: Tensor } {
  const { backend } = scores;
  const lead = scores.shape.slice(0, -1);
  const keys = scores.shape.at(-1) as number;
  const blocks = Math.ceil(keys / blockSize);
  if (k >= blocks) return topK(scores, k);
  return scope(() => {
    const missing = blocks * blockSize - keys;
    const padded =
      missing === 0
        ? scores
        : concat([scores, fill(backend, Number.NEGATIVE_INFINITY, [...lead, missing], scores.dtype)], -1);
    const rows = padded.size / (blocks * blockSize);
    const inBlocks = reshape(padded, [rows, blocks, blockSize]);
    const chosen = topK(maxOver(inBlocks, { axes: [-1] }), k).indices;
    const candidates = reshape(gatherRows(inBlocks, chosen), [rows, k * blockSize]);
    // A row may have fewer than k blocks above -inf: index -1 gathers zeros, which must not be selected.
    const within = reshape(arange(backend, blockSize), [1, 1, blockSize]);
    const keyOf = reshape(add(mul(reshape(chosen, [rows, k, 1]), blockSize), within), [rows, k * blockSize]);
    const kept = topK(hideUnused(candidates, keyOf), k);
    // takeAlong gives 0 for an unused slot; shifted by one, it becomes the contract's -1.
    const indices = sub(takeAlong(add(keyOf, 1), kept.indices), 1);
    return { values: reshape(kept.values, [...lead, k]), indices: reshape(indices, [...lead, k]) };
  });
}

function hideUnused(candidates: Tensor, keyOf: Tensor): Tensor {
  return scope(() => where(lt(keyOf, 0), Number.NEGATIVE_INFINITY, candidates));
}
