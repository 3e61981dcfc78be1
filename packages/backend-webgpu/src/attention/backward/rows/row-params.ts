import type { AttentionRequest } from '@topk-attention/core/backend';
import { type Binding, windowOf } from '../../../runtime/binding.js';
import { f32Bits, type Span } from '../../../runtime/kernel.js';
import type { View } from '../../../runtime/view.js';
import { text as philoxWgsl } from '../../../wgsl/philox.wgsl.js';
import { dropoutOf } from '../../shared/dropout.js';
import type { Group } from '../groups.js';
import type { RowLayout } from '../row-layout.js';

/** What the text of a row kernel depends on. */
export interface RowShape {
  readonly headDim: number;
  readonly valueDim: number;
  readonly layout: RowLayout;
  readonly dropout: boolean;
}

export interface RowInputs {
  readonly k: View;
  readonly v: View;
  readonly dOutput: View;
  readonly indices: View;
  readonly scores: View;
}

/** The uniform block of the row kernels, and the factor of a slot. `bases` are offsets of bindings, in vectors or words. */
export function rowParams(dropout: boolean): string {
  return `
struct Params {
  rows: u32, rows_per_unit: u32, keys: u32, slots: u32,
  key_base: u32, value_base: u32, gradient_base: u32, index_base: u32,
  score_base: u32, result_base: u32, scale: f32, first_row: u32,
  query_length: u32, query_heads: u32, threshold: u32, kept_factor: f32,
  seed: vec2u,
}
@group(0) @binding(0) var<uniform> params: Params;
${dropout ? philoxWgsl : ''}
// 1 / (1 - rate) or 0, keyed by (seed, batch, head, query, slot); 1 without dropout.
fn dropout_factor(row: u32, slot: u32) -> f32 {
${
  dropout
    ? `  let place = params.first_row + row;
  let head = place / params.query_length;
  let counter = vec4u(head / params.query_heads, head % params.query_heads, place % params.query_length, slot);
  return select(0.0, params.kept_factor, philox(counter, params.seed) >= params.threshold);`
    : '  return 1.0;'
}
}`;
}

/** Bindings of the inputs in the order key, value, dOutput, indices, scores, and the words of the uniform block. */
export function rowBindings(
  request: AttentionRequest,
  group: Group,
  layout: RowLayout,
  inputs: RowInputs,
  result: Binding,
): { readonly spans: readonly Span[]; readonly words: readonly number[] } {
  const { keyLength, headDim, valueDim, scale, queryLength, queryHeads } = request;
  const slots = request.k as number;
  const rows = group.units * group.rowsPerUnit;
  const keys = group.units * keyLength;
  const firstKey = group.firstUnit * keyLength;
  const k = windowOf(inputs.k, firstKey * headDim, keys * headDim);
  const v = windowOf(inputs.v, firstKey * valueDim, keys * valueDim);
  const dO = windowOf(inputs.dOutput, group.firstRow * valueDim, rows * valueDim);
  const indices = windowOf(inputs.indices, group.firstRow * slots, rows * slots);
  const scores = windowOf(inputs.scores, group.firstRow * slots, rows * slots);
  const { width } = layout;
  const { seed, threshold, keptScale } = dropoutOf(request);
  const words = [
    ...[rows, group.rowsPerUnit, keyLength, slots],
    ...[k.base / width, v.base / width, dO.base / width, indices.base],
    ...[scores.base, result.base / width, f32Bits(scale), group.firstRow],
    ...[queryLength, queryHeads, threshold, f32Bits(keptScale), ...seed],
  ];
  return { spans: [k, v, dO, indices, scores].map(({ span }) => span), words };
}
