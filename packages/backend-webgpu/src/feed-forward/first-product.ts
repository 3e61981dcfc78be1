import type { FeedForwardRequest } from '@topk-attention/core/backend';
import type { Binding } from '../runtime/binding.js';
import type { DeviceFacts } from '../runtime/facts.js';
import type { Stream } from '../runtime/stream.js';
import type { Borrowed, Weights } from './operands.js';
import { recordProduct } from './product.js';
import { recordSplit, type SplitMatrix, type SplitShape, splitWords } from './tensor/split.js';
import { recordRepair, recordSplitProduct, TILE_COLUMNS, TILE_ROWS } from './tensor/split-product.js';

/** How x wIn and x wGate are computed. */
export type FirstProductKind = 'plain' | 'split';

/** With fewer tokens, most of a tile is empty, and splitting the weights costs as much as the product. */
const SPLIT_TOKENS = 512;

/** Why products do not run on matrix units; empty if they do. */
export function splitRefusals(facts: DeviceFacts): readonly string[] {
  const missing = ['subgroups', 'shader-f16', 'chromium-experimental-subgroup-matrix'].filter(
    (feature) => !facts.features.has(feature),
  );
  const reasons = missing.map((feature) => `needs the feature ${feature}`);
  if (facts.subgroupMinSize !== 32 || facts.subgroupMaxSize !== 32) {
    reasons.push(`needs subgroups of 32, not ${facts.subgroupMinSize} to ${facts.subgroupMaxSize}`);
  }
  // Other vendors' matrices have other sizes, and the error of their sums has not been measured.
  if (facts.vendor !== 'nvidia') reasons.push('matrices of 16 x 16 x 16 are known only on NVIDIA devices');
  return reasons;
}

export function firstProductKind(request: FeedForwardRequest, facts: DeviceFacts): FirstProductKind {
  return splitRefusals(facts).length === 0 && request.tokens >= SPLIT_TOKENS ? 'split' : 'plain';
}

const rowsShape = (request: FeedForwardRequest, tokens: number): SplitShape => ({
  lines: tokens,
  inner: request.inputDim,
  tile: TILE_ROWS,
});

const columnsShape = ({ hidden, inputDim }: FeedForwardRequest): SplitShape => ({
  lines: hidden,
  inner: inputDim,
  tile: TILE_COLUMNS,
});

/** Transient bytes of a split product for a chunk of tokens. */
export function splitBytes(request: FeedForwardRequest, tokens: number): readonly number[] {
  const ofMatrix = (shape: SplitShape): readonly number[] => [
    4 * splitWords(shape),
    4 * shape.lines,
    4 * (shape.lines + 1),
  ];
  const weight = ofMatrix(columnsShape(request));
  return [...ofMatrix(rowsShape(request, tokens)), ...weight, ...(request.gated ? weight : [])];
}

/** Computes rows of x wIn + bIn, and of x wGate. */
export interface FirstProduct {
  record(
    borrowed: Borrowed,
    x: Binding,
    tokens: number,
    out: { readonly preactivations: Binding; readonly gate?: Binding | undefined },
  ): void;
}

export function firstProduct(
  stream: Stream,
  call: Borrowed,
  request: FeedForwardRequest,
  weights: Weights,
  kind: FirstProductKind,
): FirstProduct {
  const { hidden, inputDim } = request;
  const { wIn, bIn, wGate } = weights;
  const shapeOf = (tokens: number): { rows: number; columns: number; inner: number } => ({
    rows: tokens,
    columns: hidden,
    inner: inputDim,
  });
  if (kind === 'plain') {
    return {
      record(_borrowed, x, tokens, { preactivations, gate }) {
        recordProduct(stream, x, wIn, preactivations, shapeOf(tokens), { bias: bIn });
        if (wGate && gate) recordProduct(stream, x, wGate, gate, shapeOf(tokens));
      },
    };
  }
  const split = (borrowed: Borrowed, shape: SplitShape, x: Binding, isAcross: boolean): SplitMatrix => {
    const into = {
      packed: borrowed.take(splitWords(shape)),
      scales: borrowed.take(shape.lines),
      marks: borrowed.take(shape.lines + 1),
    };
    recordSplit(stream, shape, x, isAcross, into);
    return into;
  };
  const splitIn = split(call, columnsShape(request), wIn, true);
  const splitGate = wGate && split(call, columnsShape(request), wGate, true);
  return {
    record(borrowed, x, tokens, { preactivations, gate }) {
      const rows = split(borrowed, rowsShape(request, tokens), x, false);
      const make = (weight: Binding, parts: SplitMatrix, out: Binding, bias?: Binding): void => {
        const shape = shapeOf(tokens);
        recordSplitProduct(stream, rows, parts, out, shape, { bias, hiOnly: request.dtype === 'f16' });
        const marks = { a: rows.marks, b: parts.marks };
        recordRepair(stream, { a: x, b: weight, bias, out }, marks, shape);
      };
      make(wIn, splitIn, preactivations, bIn);
      if (wGate && splitGate && gate) make(wGate, splitGate, gate);
    },
  };
}
