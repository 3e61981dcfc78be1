import { finiteElements } from '../attention/composed-forward.js';
import { setNaNAside } from '../attention/scores.js';
import { selectTopK } from '../attention/selection.js';
import { pullback } from '../autograd/grad.js';
import type { FeedForwardInputs } from '../backend.js';
import { activate } from '../composed/activations.js';
import { arange, zeros } from '../ops/create.js';
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
import { gatherRows, putAlong, takeAlong } from '../ops/select.js';
import type { FeedForwardRequest } from '../plan/request.js';
import { scope } from '../scope.js';
import { scopeKeeping } from '../scope-stack.js';
import type { Tensor } from '../tensor.js';

/** Inputs with x flattened to [tokens, D]. */
export type FeedForwardTensors = FeedForwardInputs<Tensor>;

export interface KeptUnits {
  /** i32 [tokens, k], ascending */
  readonly indices: Tensor;
  /** [tokens, k]: pre-activations of the kept units; NaN in NaN rows */
  readonly preactivations: Tensor;
}

/**
 * Hidden units as keys, tokens as queries (paper section "feed-forward as attention"), from primitives, in chunks.
 * With `saves` the kept units are returned too, for the backward pass.
 */
export function composedFeedForward(
  request: FeedForwardRequest,
  inputs: FeedForwardTensors,
  tokenChunk: number,
  saves: boolean,
): { output: Tensor; kept: KeptUnits | undefined } {
  return scope(() => {
    const shared = sharedOfCall(request, inputs);
    const bounds = tokenChunks(request, tokenChunk);
    flushBetween(inputs, bounds);
    const chunks = bounds.map(([start, size]) => {
      const made = scope(() =>
        feedForwardChunk(request, inputs, shared, narrow(inputs.x, 0, start, size), saves),
      );
      flushBetween(inputs, bounds);
      return made;
    });
    const output = joined(chunks.map((chunk) => chunk.output));
    if (!saves || request.k === 'all') return { output, kept: undefined };
    const kept = {
      indices: joined(chunks.map((chunk) => chunk.indices as Tensor)),
      preactivations: joined(chunks.map((chunk) => chunk.preactivations as Tensor)),
    };
    return { output, kept };
  });
}

/** The chunks of one result as a whole; the parts go. */
function joined(parts: readonly Tensor[]): Tensor {
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

/** What every chunk needs of the weights, computed once. */
interface Shared {
  /** [F]: norms of the rows of wOut */
  readonly norms?: Tensor;
  /** wOut with non-finite values zeroed, and which rows had one: a unit that is not kept never influences. */
  readonly finiteOut?: Tensor;
  readonly badRows?: Tensor;
}

function sharedOfCall(request: FeedForwardRequest, { wOut }: FeedForwardTensors): Shared {
  if (request.k === 'all') return {};
  const norms =
    request.select === 'contribution' ? scope(() => sqrt(sum(mul(wOut, wOut), { axes: [1] }))) : undefined;
  if (request.second === 'gather') return { ...(norms && { norms }) };
  const { finiteOut, badRows } = scope(() => {
    const finite = finiteElements(wOut);
    const bad = scope(() => maxOver(cast(logicalNot(finite), wOut.dtype), { axes: [1], keepDims: true }));
    return { finiteOut: where(finite, wOut, 0), badRows: bad };
  });
  return { ...(norms && { norms }), finiteOut, badRows };
}

function feedForwardChunk(
  request: FeedForwardRequest,
  inputs: FeedForwardTensors,
  shared: Shared,
  x: Tensor,
  saves: boolean,
): ChunkResult {
  const { wOut, bOut } = inputs;
  const preactivations = preactivationsOf(inputs, x);
  const activations = activationsOf(request, inputs, x, preactivations);
  const withBias = (product: Tensor): Tensor => (bOut === undefined ? product : add(product, bOut));
  if (request.k === 'all') {
    preactivations.dispose();
    return { output: withBias(matmul(activations, wOut)) };
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
    product = denseProduct(activations, finite, kept, shared);
  }
  const NaNRow = (values: Tensor): Tensor => where(hadNaN, Number.NaN, values);
  const output = NaNRow(withBias(product));
  if (keptPreactivations === undefined) return { output };
  return { output, indices: kept.indices, preactivations: NaNRow(keptPreactivations) };
}

function preactivationsOf({ wIn, bIn }: FeedForwardTensors, x: Tensor): Tensor {
  return bIn === undefined ? matmul(x, wIn) : scope(() => add(matmul(x, wIn), bIn));
}

/** act(s), times the gate where there is one. */
function activationsOf(
  request: FeedForwardRequest,
  { wGate }: FeedForwardTensors,
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
 * All rows of wOut with the activations of units that are not kept at zero. No scatter: with t the k-th score and m
 * the largest kept index that has score t, the kept set is s > t or (s = t and j <= m) (design: Decision 2).
 */
function denseProduct(
  activations: Tensor,
  ranking: Tensor,
  kept: { readonly values: Tensor; readonly indices: Tensor },
  shared: Shared,
): Tensor {
  const { backend } = activations;
  const last = { axes: [-1], keepDims: true };
  return scope(() => {
    const isKept = scope(() => {
      const threshold = neg(maxOver(neg(kept.values), last));
      const lastTied = maxOver(where(eq(kept.values, threshold), cast(kept.indices, 'f32'), -1), last);
      const units = cast(reshape(arange(backend, ranking.shape[1] as number), [1, -1]), 'f32');
      const isTied = scope(() => logicalAnd(eq(ranking, threshold), le(units, lastTied)));
      // Above the threshold or tied with it, by "and" and "not".
      const isBelow = scope(() => logicalNot(lt(threshold, ranking)));
      return scope(() => logicalNot(logicalAnd(isBelow, logicalNot(isTied))));
    });
    ranking.dispose();
    const product = scope(() => matmul(where(isKept, activations, 0), shared.finiteOut as Tensor));
    const seen = scope(() => lt(0, matmul(cast(isKept, activations.dtype), shared.badRows as Tensor)));
    return where(seen, Number.NaN, product);
  });
}

/** Gradients of every input, in the roles of the inputs; chunked, dense only within a chunk. */
export function composedFeedForwardBackward(
  request: FeedForwardRequest,
  inputs: FeedForwardTensors,
  kept: KeptUnits | undefined,
  dOutput: Tensor,
  tokenChunk: number,
): FeedForwardTensors {
  return scope(() => {
    const chunks = tokenChunks(request, tokenChunk);
    // From zero on, so that the first chunk is like the others: an engine that compiles graphs compiles one.
    let sums = chunks.length === 1 ? undefined : zeroWeights(inputs);
    const dX: Tensor[] = [];
    flushBetween(inputs, chunks);
    for (const [start, size] of chunks) {
      const part = (whole: Tensor): Tensor => narrow(whole, 0, start, size);
      const { x, ...weights } = scope(() =>
        chunkGradients(
          request,
          { ...inputs, x: part(inputs.x) },
          kept && { indices: part(kept.indices), preactivations: part(kept.preactivations) },
          part(dOutput),
        ),
      );
      dX.push(x);
      sums = sums === undefined ? weights : addWeights(sums, weights);
      flushBetween(inputs, chunks);
    }
    return { x: joined(dX), ...(sums as Omit<FeedForwardTensors, 'x'>) };
  });
}

function zeroWeights(inputs: FeedForwardTensors): Omit<FeedForwardTensors, 'x'> {
  const { wIn, bIn, wGate, wOut, bOut } = inputs;
  const zero = ({ backend, shape, dtype }: Tensor): Tensor => zeros(backend, shape, dtype);
  return {
    wIn: zero(wIn),
    wOut: zero(wOut),
    ...(bIn && { bIn: zero(bIn) }),
    ...(wGate && { wGate: zero(wGate) }),
    ...(bOut && { bOut: zero(bOut) }),
  };
}

function addWeights(
  a: Omit<FeedForwardTensors, 'x'>,
  b: Omit<FeedForwardTensors, 'x'>,
): Omit<FeedForwardTensors, 'x'> {
  const both = (one: Tensor, other: Tensor | undefined): Tensor => {
    const total = add(one, other as Tensor);
    one.dispose();
    other?.dispose();
    return total;
  };
  return {
    wIn: both(a.wIn, b.wIn),
    wOut: both(a.wOut, b.wOut),
    ...(a.bIn && { bIn: both(a.bIn, b.bIn) }),
    ...(a.wGate && { wGate: both(a.wGate, b.wGate) }),
    ...(a.bOut && { bOut: both(a.bOut, b.bOut) }),
  };
}

function chunkGradients(
  request: FeedForwardRequest,
  inputs: FeedForwardTensors,
  kept: KeptUnits | undefined,
  dO: Tensor,
): FeedForwardTensors {
  const { x, wIn, bIn, wGate, wOut, bOut } = inputs;
  const take = (wide: Tensor): Tensor => (kept === undefined ? wide : takeAlong(wide, kept.indices));
  const spread = (narrowed: Tensor): Tensor =>
    kept === undefined ? narrowed : putAlong(kept.indices, narrowed, request.hidden);
  const s = kept?.preactivations ?? preactivationsOf(inputs, x);
  const gate = wGate === undefined ? undefined : take(matmul(x, wGate));
  const dActivation = take(matmul(dO, wOut, { transposeB: true }));
  const parts = { s, ...(gate && { gate }) };
  const pulled = pullback((p: { s: Tensor; gate?: Tensor }) => {
    const plain = activate(p.s, request.activation);
    return p.gate === undefined ? plain : mul(plain, p.gate);
  }, parts);
  const dParts = scopeKeeping(
    () => pulled.backward(dActivation),
    (made) => [made.s, ...(made.gate ? [made.gate] : [])],
  );
  pulled.dispose();
  const dS = spread(dParts.s);
  const dGate = dParts.gate && spread(dParts.gate);
  const dXIn = matmul(dS, wIn, { transposeB: true });
  return {
    x: dGate && wGate ? add(dXIn, matmul(dGate, wGate, { transposeB: true })) : dXIn,
    wIn: matmul(x, dS, { transposeA: true }),
    ...(bIn && { bIn: sum(dS, { axes: [0] }) }),
    ...(dGate && { wGate: matmul(x, dGate, { transposeA: true }) }),
    wOut: matmul(spread(pulled.output), dO, { transposeA: true }),
    ...(bOut && { bOut: sum(dO, { axes: [0] }) }),
  };
}

/** Several chunks are work of their own each, apart from what lies before and after them. */
function flushBetween({ x }: FeedForwardTensors, chunks: readonly unknown[]): void {
  if (chunks.length > 1) x.backend.flush();
}

function tokenChunks(request: FeedForwardRequest, tokenChunk: number): [number, number][] {
  const chunks: [number, number][] = [];
  for (let start = 0; start < request.tokens; start += tokenChunk) {
    chunks.push([start, Math.min(tokenChunk, request.tokens - start)]);
  }
  return chunks;
}
