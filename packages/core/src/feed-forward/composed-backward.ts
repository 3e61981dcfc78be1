import { pullback } from '../autograd/grad.js';
import type { FeedForwardRequest } from '../contract/feed-forward.js';
import { activate } from '../functions/activations.js';
import { type PartialOperand, partialOperand, partialProduct } from '../functions/partial-product.js';
import { fill, zeros } from '../ops/create.js';
import { add, cast, mul } from '../ops/elementwise.js';
import { narrow } from '../ops/layout.js';
import { matmul } from '../ops/matmul.js';
import { sum } from '../ops/reduce.js';
import { putAlong, takeAlong } from '../ops/select.js';
import { scope } from '../tensor/scope.js';
import { scopeKeeping } from '../tensor/scope-stack.js';
import type { Tensor } from '../tensor/tensor.js';
import { mapTree } from '../tensor/tree.js';
import {
  type FeedForwardParameters,
  flushBetween,
  inSinglePrecision,
  joined,
  type KeptUnits,
  preactivationsOf,
  tokenChunks,
} from './composed.js';
import type { FeedForwardTensors } from './request.js';

/** Gradients of every input, under the inputs' roles; chunked, dense only within a chunk. */
export function composedFeedForwardBackward(
  request: FeedForwardRequest,
  inputs: FeedForwardTensors,
  kept: KeptUnits | undefined,
  dOutput: Tensor,
  tokenChunk: number,
): FeedForwardTensors {
  const { x: tokens, ...given } = inputs;
  return scope(() => {
    const weights = inSinglePrecision(given);
    const transposed = kept && {
      wIn: partialOperand(weights.wIn),
      ...(weights.wGate && { wGate: partialOperand(weights.wGate) }),
    };
    const chunks = tokenChunks(request, tokenChunk);
    // Start from zero, so that the first chunk looks like the others and a graph-compiling engine compiles only one.
    let sums = chunks.length === 1 ? undefined : mapTree(weights, zerosLike);
    const dX: Tensor[] = [];
    flushBetween(tokens, chunks);
    for (const [start, size] of chunks) {
      const part = (whole: Tensor): Tensor => narrow(whole, 0, start, size);
      const { x, ...own } = scope(() =>
        chunkGradients(
          request,
          { ...weights, x: cast(part(tokens), 'f32') },
          kept &&
            transposed && {
              indices: part(kept.indices),
              preactivations: part(kept.preactivations),
              ...transposed,
            },
          cast(part(dOutput), 'f32'),
        ),
      );
      dX.push(cast(x, request.dtype));
      sums = sums === undefined ? own : addWeights(sums, own);
      flushBetween(tokens, chunks);
    }
    const stored = mapTree(sums as FeedForwardParameters, (one) => cast(one, request.dtype));
    return { x: joined(dX), ...stored };
  });
}

function zerosLike({ backend, shape, dtype }: Tensor): Tensor {
  return zeros(backend, shape, dtype);
}

function addWeights(a: FeedForwardParameters, b: FeedForwardParameters): FeedForwardParameters {
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

/** Kept units of a chunk, and the weights that map their gradients back to x. */
type KeptOfChunk = KeptUnits & { readonly wIn: PartialOperand; readonly wGate?: PartialOperand };

function chunkGradients(
  request: FeedForwardRequest,
  inputs: FeedForwardTensors,
  kept: KeptOfChunk | undefined,
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
  const taken = kept && spread(fill(x.backend, 1, kept.indices.shape));
  // A unit that is not kept has gradient 0, which its weights must not turn into NaN.
  const toInput = (gradient: Tensor, weights: Tensor, partial: PartialOperand | undefined): Tensor =>
    taken && partial
      ? partialProduct(gradient, taken, partial, { transposeB: true })
      : matmul(gradient, weights, { transposeB: true });
  const dXIn = toInput(dS, wIn, kept?.wIn);
  return {
    x: dGate && wGate ? add(dXIn, toInput(dGate, wGate, kept?.wGate)) : dXIn,
    wIn: matmul(x, dS, { transposeA: true }),
    ...(bIn && { bIn: sum(dS, { axes: [0] }) }),
    ...(dGate && { wGate: matmul(x, dGate, { transposeA: true }) }),
    wOut: matmul(spread(pulled.output), dO, { transposeA: true }),
    ...(bOut && { bOut: sum(dO, { axes: [0] }) }),
  };
}
