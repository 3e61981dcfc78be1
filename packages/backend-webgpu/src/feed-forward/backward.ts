import type { ChosenFeedForward, FeedForwardInputs } from '@topk-attention/core/backend';
import { type Binding, wholeOf, windowOf } from '../runtime/binding.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../runtime/view.js';
import { recordNaNRows, recordPick, recordPullActivation, recordPut } from './elementwise.js';
import { type FiniteWeights, recordFinite, recordRest } from './finite-weights.js';
import { recordGather } from './gather.js';
import {
  Borrowed,
  rowsAsF32,
  rowsToWrite,
  type Target,
  type Weights,
  weightsAsF32,
  zeroedTarget,
} from './operands.js';
import { recordProduct } from './product.js';
import { recordRowDots } from './row-dots.js';
import { recordColumnSums, recordTranspose } from './rows.js';
import { recordListSums, recordSlotCounts, recordUnitLists, releaseUnitLists } from './unit-lists.js';

/** Tensors of the backward pass; `gradients` has the roles of the inputs. */
export interface FeedForwardBackwardViews extends FeedForwardInputs<View> {
  /** i32 [tokens, k] */
  readonly indices?: View | undefined;
  /** f32 [tokens, k] */
  readonly preactivations?: View | undefined;
  /** [tokens, Dout] */
  readonly dOutput: View;
  readonly gradients: FeedForwardInputs<View>;
}

/** Rows of one chunk. */
interface Chunk {
  readonly start: number;
  readonly tokens: number;
  readonly x: Binding;
  readonly dOutput: Binding;
  readonly dX: Binding;
}

interface Call {
  readonly stream: Stream;
  readonly request: ChosenFeedForward;
  readonly weights: Weights;
  readonly sums: FeedForwardInputs<Target>;
  /** Where dense products replace those over the kept units alone. */
  readonly finite?: { readonly wIn: FiniteWeights; readonly wGate?: FiniteWeights };
}

/**
 * Gradients from the saved lists of kept units and their pre-activations (paper section 1.6), `tokens` at a time; with
 * k = 'all' the pre-activations are recomputed. For a kept unit j of a token:
 *
 *     dA_j = dOut . wOut_j,   dS_j = dA_j gate_j act'(s_j),   dGate_j = dA_j act(s_j)
 *
 * If the second product was a gather, only kept rows are touched: dX gathers rows of the transposed wIn, and the
 * gradients of the weights gather rows of x and dOut through the inverted lists (`unit-lists.ts`). Otherwise these are
 * dense products over activations with zeros. Every sum has a fixed order.
 */
export function recordBackward(
  stream: Stream,
  request: ChosenFeedForward,
  views: FeedForwardBackwardViews,
  tokens: number,
): void {
  const borrowed = new Borrowed(stream);
  const weights = weightsAsF32(stream, borrowed, views);
  const { gradients } = views;
  const zeroed = (view: View): Target => zeroedTarget(stream, borrowed, view);
  const sums = {
    x: { range: weights.wIn, store: () => {} }, // made chunk by chunk
    wIn: zeroed(gradients.wIn),
    ...(gradients.bIn && { bIn: zeroed(gradients.bIn) }),
    ...(gradients.wGate && { wGate: zeroed(gradients.wGate) }),
    wOut: zeroed(gradients.wOut),
    ...(gradients.bOut && { bOut: zeroed(gradients.bOut) }),
  };
  const { k, second, inputDim, hidden } = request;
  const isDense = k !== 'all' && second === 'dense';
  const finiteOf = (weight: Binding): FiniteWeights =>
    recordFinite(stream, borrowed, inputDim * hidden, weight);
  const call: Call = {
    ...{ stream, request, weights, sums },
    ...(isDense && {
      finite: {
        wIn: finiteOf(weights.wIn),
        ...(weights.wGate && { wGate: finiteOf(weights.wGate) }),
      },
    }),
  };
  const isSparse = k !== 'all' && second === 'gather';
  const sparse = isSparse ? new TurnedWeights(call, borrowed) : undefined;
  for (let start = 0; start < request.tokens; start += tokens) {
    const own = new Borrowed(stream);
    recordChunk(call, own, sparse, views, start, Math.min(tokens, request.tokens - start));
    own.release();
    stream.flush();
  }
  sparse?.finish();
  for (const one of [sums.wIn, sums.bIn, sums.wGate, sums.wOut, sums.bOut]) one?.store();
  borrowed.release();
  stream.flush();
}

function recordChunk(
  call: Call,
  borrowed: Borrowed,
  sparse: TurnedWeights | undefined,
  views: FeedForwardBackwardViews,
  start: number,
  tokens: number,
): void {
  const { stream, request, sums } = call;
  const { inputDim, outputDim } = request;
  const dX = rowsToWrite(stream, borrowed, views.gradients.x, start, tokens, inputDim);
  const chunk: Chunk = {
    start,
    tokens,
    x: rowsAsF32(stream, borrowed, views.x, start, tokens, inputDim),
    dOutput: rowsAsF32(stream, borrowed, views.dOutput, start, tokens, outputDim),
    dX: dX.range,
  };
  if (sums.bOut) recordColumnSums(stream, tokens, outputDim, chunk.dOutput, sums.bOut.range);
  const { indices, preactivations } = views;
  const { k } = request;
  if (k === 'all' || indices === undefined || preactivations === undefined) {
    recordAllUnits(call, borrowed, chunk);
  } else {
    const lists = {
      k,
      indices: windowOf(indices, start * k, tokens * k),
      kept: windowOf(preactivations, start * k, tokens * k),
    };
    if (sparse === undefined) recordDense(call, borrowed, chunk, lists);
    else sparse.record(borrowed, chunk, lists);
  }
  dX.store();
}

interface Lists {
  readonly k: number;
  readonly indices: Binding;
  readonly kept: Binding;
}

/** A copy of a list that may be overwritten. */
function copyOf(stream: Stream, borrowed: Borrowed, list: Binding, words: number): Binding {
  const copy = borrowed.take(words);
  const { buffer, offset } = list.span;
  stream.copy({ buffer, offset: offset + 4 * list.base, size: 4 * words }, copy.span);
  return copy;
}

/** Every unit of every token. */
function recordAllUnits(call: Call, borrowed: Borrowed, chunk: Chunk): void {
  const { stream, request, weights } = call;
  const { tokens, x, dOutput } = chunk;
  const { hidden, inputDim, outputDim, activation } = request;
  const inward = { rows: tokens, columns: hidden, inner: inputDim };
  const s = borrowed.take(tokens * hidden);
  recordProduct(stream, x, weights.wIn, s, inward, { bias: weights.bIn });
  const gate = weights.wGate && borrowed.take(tokens * hidden);
  if (weights.wGate && gate) recordProduct(stream, x, weights.wGate, gate, inward);
  const upstream = borrowed.take(tokens * hidden);
  const back = { rows: tokens, columns: hidden, inner: outputDim };
  recordProduct(stream, dOutput, weights.wOut, upstream, back, { transposeB: true });
  recordPullActivation(stream, tokens * hidden, activation, s, upstream, gate);
  recordInward(call, chunk, s, 'wIn');
  if (gate) recordInward(call, chunk, gate, 'wGate');
  recordOutward(call, chunk, upstream);
}

/** Gradients that flow through x wIn (or x wGate), from those of its result [tokens, F]. */
function recordInward(call: Call, chunk: Chunk, dWide: Binding, role: 'wIn' | 'wGate'): void {
  const { stream, request, weights, sums } = call;
  const { hidden, inputDim } = request;
  const { tokens, x, dX } = chunk;
  const weight = call.finite?.[role]?.finite ?? weights[role];
  const sum = sums[role];
  if (weight === undefined || sum === undefined) return;
  const toX = { rows: tokens, columns: inputDim, inner: hidden };
  recordProduct(stream, dWide, weight, dX, toX, { transposeB: true, accumulate: role === 'wGate' });
  const toWeight = { rows: inputDim, columns: hidden, inner: tokens };
  recordProduct(stream, x, dWide, sum.range, toWeight, { transposeA: true, accumulate: true });
  if (role === 'wIn' && sums.bIn) recordColumnSums(stream, tokens, hidden, dWide, sums.bIn.range);
}

/** The gradient of wOut from activations [tokens, F]. */
function recordOutward({ stream, request, sums }: Call, { tokens, dOutput }: Chunk, wide: Binding): void {
  const shape = { rows: request.hidden, columns: request.outputDim, inner: tokens };
  recordProduct(stream, wide, dOutput, sums.wOut.range, shape, { transposeA: true, accumulate: true });
}

/** Dense products, with everything but the kept units at zero; one buffer of [tokens, F]. */
function recordDense(call: Call, borrowed: Borrowed, chunk: Chunk, { k, indices, kept }: Lists): void {
  const { stream, request, weights } = call;
  const { hidden, inputDim, outputDim, activation } = request;
  const { tokens, x, dOutput } = chunk;
  const shape = { tokens, k, hidden };
  const wide = borrowed.take(tokens * hidden);
  const upstream = borrowed.take(tokens * k);
  const back = { rows: tokens, columns: hidden, inner: outputDim };
  recordProduct(stream, dOutput, weights.wOut, wide, back, { transposeB: true });
  recordPick(stream, shape, { indices, wide, values: upstream });
  const gate = weights.wGate && borrowed.take(tokens * k);
  if (weights.wGate && gate) {
    recordProduct(stream, x, weights.wGate, wide, { rows: tokens, columns: hidden, inner: inputDim });
    recordPick(stream, shape, { indices, wide, values: gate });
  }
  const s = copyOf(stream, borrowed, kept, tokens * k);
  recordPullActivation(stream, tokens * k, activation, s, upstream, gate);
  const spread = (values: Binding): void => {
    stream.clear(wide.span);
    recordPut(stream, shape, { indices, values, wide });
  };
  spread(s);
  recordInward(call, chunk, wide, 'wIn');
  if (gate) {
    spread(gate);
    recordInward(call, chunk, wide, 'wGate');
  }
  const { wIn, wGate } = call.finite ?? {};
  const ofTokens = { tokens, k, inputDim, hidden };
  if (wIn) recordRest(stream, ofTokens, indices, s, wIn, chunk.dX);
  if (wGate && gate) recordRest(stream, ofTokens, indices, gate, wGate, chunk.dX);
  spread(upstream);
  recordOutward(call, chunk, wide);
  // A token whose units are all NaN keeps none, and its row of the products is zero.
  recordNaNRows(stream, { tokens, k, columns: inputDim }, kept, chunk.dX);
}

/** The backward pass over kept rows alone, with wIn and wGate transposed to [F, D] so that a unit is a row. */
class TurnedWeights {
  readonly #call: Call;
  readonly #wIn: Binding;
  readonly #dWIn: Binding;
  readonly #wGate: Binding | undefined;
  readonly #dWGate: Binding | undefined;

  constructor(call: Call, borrowed: Borrowed) {
    this.#call = call;
    const { stream, request, weights } = call;
    const { inputDim, hidden } = request;
    const turn = (weight: Binding): Binding => {
      const turned = borrowed.take(inputDim * hidden);
      recordTranspose(stream, inputDim, hidden, weight, turned);
      return turned;
    };
    const zeros = (): Binding => {
      const made = borrowed.take(inputDim * hidden);
      stream.clear(made.span);
      return made;
    };
    this.#wIn = turn(weights.wIn);
    this.#dWIn = zeros();
    this.#wGate = weights.wGate && turn(weights.wGate);
    this.#dWGate = weights.wGate && zeros();
  }

  record(borrowed: Borrowed, { tokens, x, dOutput, dX }: Chunk, { k, indices, kept }: Lists): void {
    const { stream, request, weights, sums } = this.#call;
    const { hidden, inputDim, outputDim, activation } = request;
    const counts = stream.scratch(4 * tokens);
    recordSlotCounts(stream, tokens, k, indices, kept, counts);
    const upstream = borrowed.take(tokens * k);
    const outDots = { left: dOutput, rows: weights.wOut, indices, values: upstream };
    recordRowDots(stream, { tokens, k, columns: outputDim }, outDots);
    const gate = this.#wGate && borrowed.take(tokens * k);
    if (this.#wGate && gate) {
      recordRowDots(
        stream,
        { tokens, k, columns: inputDim },
        { left: x, rows: this.#wGate, indices, values: gate },
      );
    }
    const s = copyOf(stream, borrowed, kept, tokens * k);
    recordPullActivation(stream, tokens * k, activation, s, upstream, gate);
    const rows = { tokens, k, columns: inputDim };
    const ofToken = { indices, counts: wholeOf(counts), out: dX };
    recordGather(stream, rows, { ...ofToken, rows: this.#wIn, weights: s });
    if (this.#wGate && gate) {
      recordGather(stream, rows, { ...ofToken, rows: this.#wGate, weights: gate }, { accumulate: true });
    }
    stream.release(counts);
    const values = [s.span, upstream.span, ...(gate ? [gate.span] : [])];
    const lists = recordUnitLists(stream, { tokens, k, hidden }, indices, values);
    const [dS, activations, dGate] = lists.values.map(wholeOf);
    const gatherInto = (out: Binding, from: Binding, ofSlots: Binding | undefined, columns: number): void => {
      if (ofSlots === undefined) return;
      recordGather(
        stream,
        { tokens: hidden, k: 1, columns },
        {
          rows: from,
          indices: wholeOf(lists.tokens),
          weights: ofSlots,
          counts: wholeOf(lists.counts),
          starts: wholeOf(lists.starts),
          out,
        },
        { accumulate: true },
      );
    };
    gatherInto(this.#dWIn, x, dS, inputDim);
    gatherInto(sums.wOut.range, dOutput, activations, outputDim);
    if (this.#dWGate) gatherInto(this.#dWGate, x, dGate, inputDim);
    if (sums.bIn && dS) recordListSums(stream, hidden, lists, dS.span, sums.bIn.range);
    releaseUnitLists(stream, lists);
  }

  /** Transposes the sums back into the gradients. */
  finish(): void {
    const { stream, request, sums } = this.#call;
    const { inputDim, hidden } = request;
    recordTranspose(stream, hidden, inputDim, this.#dWIn, sums.wIn.range);
    if (this.#dWGate && sums.wGate) {
      recordTranspose(stream, hidden, inputDim, this.#dWGate, sums.wGate.range);
    }
  }
}
