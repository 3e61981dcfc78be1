import type { ChosenFeedForward, FeedForwardInputs } from '@topk-attention/core/backend';
import { type Binding, windowOf } from '../runtime/binding.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../runtime/view.js';
import { recordDenseLayer } from './dense.js';
import { recordActivate } from './elementwise.js';
import { type FirstProduct, type FirstProductKind, firstProduct } from './first-product.js';
import { recordGather } from './gather.js';
import { Borrowed, rowsAsF32, rowsToWrite, type Weights, weightsAsF32 } from './operands.js';
import { recordProduct } from './product.js';
import { recordMarkRows, recordRowNorms } from './rows.js';
import { recordSelect } from './select.js';

/** Tensors of a call and its results; shapes as in core's `FeedForwardInputs` and `FeedForwardOutputs`. */
export interface FeedForwardViews extends FeedForwardInputs<View> {
  /** [tokens, Dout] */
  readonly output: View;
  /** i32 [tokens, k] */
  readonly indices?: View;
  /** f32 [tokens, k] */
  readonly preactivations?: View;
}

/** What all chunks share. */
interface Shared {
  readonly weights: Weights;
  readonly first: FirstProduct;
  readonly kind: FirstProductKind;
  /** [F]: lengths of the rows of wOut */
  readonly norms?: Binding;
  /** Units whose row of wOut is not finite. */
  readonly marks?: Binding;
}

/**
 * The top-k feed-forward layer, `tokens` at a time: pre-activations [tokens, F] (and the gate), exact selection, and
 * the second product over the kept rows of wOut, or over all of them with the other activations at zero. In either
 * case, tokens that keep a unit whose row of wOut is not finite use only the rows they keep.
 */
export function recordForward(
  stream: Stream,
  request: ChosenFeedForward,
  views: FeedForwardViews,
  tokens: number,
  kind: FirstProductKind = 'plain',
): void {
  const call = new Borrowed(stream);
  const weights = weightsAsF32(stream, call, views);
  const first = firstProduct(stream, call, request, weights, kind);
  const shared = { weights, first, kind, ...sharedOf(stream, call, request, weights) };
  for (let start = 0; start < request.tokens; start += tokens) {
    const borrowed = new Borrowed(stream);
    recordChunk(stream, borrowed, request, views, shared, start, Math.min(tokens, request.tokens - start));
    borrowed.release();
    stream.flush();
  }
  call.release();
}

function sharedOf(
  stream: Stream,
  call: Borrowed,
  { hidden, outputDim, k, select, second }: ChosenFeedForward,
  { wOut }: Weights,
): Omit<Shared, 'weights' | 'first' | 'kind'> {
  if (k === 'all') return {};
  const norms = select === 'contribution' ? call.take(hidden) : undefined;
  if (norms !== undefined) recordRowNorms(stream, hidden, outputDim, wOut, norms);
  const marks = second === 'dense' ? call.take(hidden + 1) : undefined;
  if (marks !== undefined) {
    stream.clear(marks.span);
    recordMarkRows(stream, hidden, outputDim, wOut, marks);
  }
  return { ...(norms && { norms }), ...(marks && { marks }) };
}

function recordChunk(
  stream: Stream,
  borrowed: Borrowed,
  request: ChosenFeedForward,
  views: FeedForwardViews,
  { weights, first, kind, norms, marks }: Shared,
  start: number,
  tokens: number,
): void {
  const { inputDim, hidden, outputDim, k, activation, select, second, saves = false } = request;
  const { wGate, wOut, bOut } = weights;
  const x = rowsAsF32(stream, borrowed, views.x, start, tokens, inputDim);
  const target = rowsToWrite(stream, borrowed, views.output, start, tokens, outputDim);
  const preactivations = borrowed.take(tokens * hidden);
  const outward = { rows: tokens, columns: outputDim, inner: hidden };
  const gate = wGate && borrowed.take(tokens * hidden);
  if (k === 'all' && kind === 'plain') {
    const rows = { tokens, x, hidden: preactivations, gate, out: target.range };
    recordDenseLayer(stream, request, weights, rows);
    target.store();
    return;
  }
  first.record(borrowed, x, tokens, { preactivations, gate });
  if (k === 'all') {
    recordActivate(stream, tokens * hidden, activation, preactivations, gate);
    recordProduct(stream, preactivations, wOut, target.range, outward, { bias: bOut });
    target.store();
    return;
  }
  const list = (view: View | undefined): Binding =>
    view === undefined ? borrowed.take(tokens * k) : windowOf(view, start * k, tokens * k);
  const indices = list(saves ? views.indices : undefined);
  const kept = saves && views.preactivations ? list(views.preactivations) : undefined;
  const values = list(undefined);
  const counts = borrowed.take(tokens);
  recordSelect(
    stream,
    { tokens, hidden, k },
    {
      activation,
      gated: gate !== undefined,
      isContribution: select === 'contribution',
      isDense: second === 'dense',
      saves: kept !== undefined,
    },
    { preactivations, gate, norms, indices, weights: values, kept, counts },
  );
  if (second === 'dense') {
    recordProduct(stream, preactivations, wOut, target.range, outward, { bias: bOut, finiteB: true });
  }
  recordGather(
    stream,
    { tokens, k, columns: outputDim },
    { rows: wOut, indices, weights: values, counts, bias: bOut, marks, out: target.range },
  );
  target.store();
}
