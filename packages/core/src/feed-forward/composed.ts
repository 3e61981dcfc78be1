import type { ChosenFeedForward } from '../contract/choices.js';
import type { FeedForwardOutputs, FeedForwardRequest } from '../contract/feed-forward.js';
import { activate } from '../functions/activations.js';
import { type PartialOperand, partialOperand, partialProduct } from '../functions/partial-product.js';
import { arange } from '../ops/create.js';
import {
  abs,
  add,
  cast,
  eq,
  le,
  logicalAnd,
  logicalNot,
  lt,
  mul,
  neg,
  sqrt,
  where,
} from '../ops/elementwise.js';
import { concat, narrow, reshape } from '../ops/layout.js';
import { matmul } from '../ops/matmul.js';
import { maxOver, sum } from '../ops/reduce.js';
import { gatherRows, takeAlong } from '../ops/select.js';
import { setNaNAside } from '../selection/nan-rows.js';
import { selectTopK } from '../selection/select-top-k.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { mapTree } from '../tensor/tree.js';
import type { FeedForwardTensors } from './request.js';

export interface KeptUnits {
  /** i32 [tokens, k], ascending */
  readonly indices: Tensor;
  /** f32 [tokens, k]: pre-activations of the kept units; NaN in NaN rows */
  readonly preactivations: Tensor;
}

/**
 * Hidden units as keys, tokens as queries (paper section "feed-forward as attention"), from primitives, in chunks.
 * With `request.saves` it also returns the kept units, for the backward pass.
 */
export function composedFeedForward(
  request: ChosenFeedForward,
  inputs: FeedForwardTensors,
  tokenChunk: number,
): FeedForwardOutputs<Tensor> {
  const { x, ...given } = inputs;
  const saves = request.saves === true;
  return scope(() => {
    const weights = inSinglePrecision(given);
    const shared = sharedOfCall(request, weights);
    const bounds = tokenChunks(request, tokenChunk);
    flushBetween(x, bounds);
    const chunks = bounds.map(([start, size]) => {
      const made = scope(() =>
        feedForwardChunk(request, weights, shared, cast(narrow(x, 0, start, size), 'f32'), saves),
      );
      flushBetween(x, bounds);
      return made;
    });
    const output = joined(chunks.map((chunk) => chunk.output));
    if (!saves || request.k === 'all') return { output };
    return {
      output,
      indices: joined(chunks.map((chunk) => chunk.indices as Tensor)),
      preactivations: joined(chunks.map((chunk) => chunk.preactivations as Tensor)),
    };
  });
}

export type FeedForwardParameters = Omit<FeedForwardTensors, 'x'>;

/** Pre-activations, gates and sums are f32 whatever the storage type. */
export function inSinglePrecision(weights: FeedForwardParameters): FeedForwardParameters {
  return mapTree(weights, (one) => cast(one, 'f32'));
}

/** Joins the chunks of one result and disposes of the parts. */
export function joined(parts: readonly Tensor[]): Tensor {
  const [first] = parts;
  if (first !== undefined && parts.length === 1) return first;
  const whole = concat(parts, 0);
  for (const part of parts) part.dispose();
  return whole;
}

interface ChunkResult {
  readonly output: Tensor;
  readonly indices?: Tensor;
  readonly preactivations?: Tensor;
}

/** What every chunk needs from the weights, computed once. */
interface Shared {
  /** [F]: norms of the rows of wOut */
  readonly norms?: Tensor;
  /** wOut for the dense product, which must ignore units that are not kept. */
  readonly out?: PartialOperand;
}

function sharedOfCall(request: ChosenFeedForward, { wOut }: FeedForwardParameters): Shared {
  if (request.k === 'all') return {};
  const norms =
    request.select === 'contribution' ? scope(() => sqrt(sum(mul(wOut, wOut), { axes: [1] }))) : undefined;
  return { ...(norms && { norms }), ...(request.second === 'dense' && { out: partialOperand(wOut) }) };
}

function feedForwardChunk(
  request: ChosenFeedForward,
  weights: FeedForwardParameters,
  shared: Shared,
  x: Tensor,
  saves: boolean,
): ChunkResult {
  const { wOut, bOut } = weights;
  const preactivations = preactivationsOf(weights, x);
  const activations = activationsOf(request, weights, x, preactivations);
  const withBias = (product: Tensor): Tensor => (bOut === undefined ? product : add(product, bOut));
  const stored = (output: Tensor): Tensor => cast(output, request.dtype);
  if (request.k === 'all') {
    preactivations.dispose();
    return { output: stored(withBias(matmul(activations, wOut))) };
  }
  const { norms } = shared;
  const ranking = norms === undefined ? preactivations.alias() : scope(() => mul(abs(activations), norms));
  const { finite, hadNaN } = setNaNAside(ranking);
  ranking.dispose();
  const kept = selectTopK(finite, request.k, request.selection);
  const keptPreactivations = saves ? takeAlong(preactivations, kept.indices) : undefined;
  preactivations.dispose();
  let product: Tensor;
  if (request.second === 'gather') {
    finite.dispose();
    product = gatheredProduct(activations, kept.indices, wOut);
  } else {
    product = denseProduct(request, activations, finite, kept, shared.out as PartialOperand);
  }
  const NaNRow = (values: Tensor): Tensor => where(hadNaN, Number.NaN, values);
  const output = stored(NaNRow(withBias(product)));
  if (keptPreactivations === undefined) return { output };
  return { output, indices: kept.indices, preactivations: NaNRow(keptPreactivations) };
}

export function preactivationsOf({ wIn, bIn }: FeedForwardParameters, x: Tensor): Tensor {
  return bIn === undefined ? matmul(x, wIn) : scope(() => add(matmul(x, wIn), bIn));
}

/** act(s), times the gate if the layer is gated. */
function activationsOf(
  request: FeedForwardRequest,
  { wGate }: FeedForwardParameters,
  x: Tensor,
  preactivations: Tensor,
): Tensor {
  return scope(() => {
    const plain = activate(preactivations, request.activation);
    return wGate === undefined ? plain : mul(plain, matmul(x, wGate));
  });
}

/** The kept rows of wOut alone, [tokens, k] x [tokens, k, Dout]. */
function gatheredProduct(activations: Tensor, indices: Tensor, wOut: Tensor): Tensor {
  const [tokens, k] = indices.shape as [number, number];
  return scope(() => {
    const rows = gatherRows(reshape(wOut, [1, ...wOut.shape]), reshape(indices, [1, tokens * k]));
    const weights = reshape(takeAlong(activations, indices), [tokens, 1, k]);
    return reshape(matmul(weights, reshape(rows, [tokens, k, -1])), [tokens, wOut.shape[1] as number]);
  });
}

/**
 * All rows of wOut, with the activations of units that are not kept set to zero. No scatter: with t the k-th score and
 * m the largest kept index that has score t, the kept set is s > t or (s = t and j <= m) (design: Decision 2). Takes
 * ownership of activations and ranking.
 */
function denseProduct(
  request: FeedForwardRequest,
  activations: Tensor,
  ranking: Tensor,
  kept: { readonly values: Tensor; readonly indices: Tensor },
  out: PartialOperand,
): Tensor {
  const { backend } = activations;
  const last = { axes: [-1], keepDims: true };
  return scope(() => {
    const isKept = scope(() => {
      const threshold = neg(maxOver(neg(kept.values), last));
      const lastTied = maxOver(where(eq(kept.values, threshold), cast(kept.indices, 'f32'), -1), last);
      const units = cast(reshape(arange(backend, ranking.shape[1] as number), [1, -1]), 'f32');
      const isTied = scope(() => logicalAnd(eq(ranking, threshold), le(units, lastTied)));
      // Above the threshold or tied with it, using only "and" and "not".
      const isBelow = scope(() => logicalNot(lt(threshold, ranking)));
      return scope(() => logicalNot(logicalAnd(isBelow, logicalNot(isTied))));
    });
    ranking.dispose();
    const weights = where(isKept, activations, 0);
    activations.dispose();
    const isNonNegative = request.activation === 'relu' && !request.gated;
    return partialProduct(weights, isKept, out, { isNonNegative });
  });
}

/** Several chunks are submitted separately from the work before and after them. */
export function flushBetween({ backend }: Tensor, chunks: readonly unknown[]): void {
  if (chunks.length > 1) backend.flush();
}

export function tokenChunks(request: FeedForwardRequest, tokenChunk: number): [number, number][] {
  const chunks: [number, number][] = [];
  for (let start = 0; start < request.tokens; start += tokenChunk) {
    chunks.push([start, Math.min(tokenChunk, request.tokens - start)]);
  }
  return chunks;
}
