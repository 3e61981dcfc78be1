import { type AttentionRequest, dropoutWords } from '@topk-attention/core/backend';
import { type Binding, windowOf } from '../../../runtime/binding.js';
import type { Span } from '../../../runtime/kernel.js';
import type { Stream } from '../../../runtime/stream.js';
import type { View } from '../../../runtime/view.js';
import { kernelFamily, readFrom, write, writeTo } from '../../../wgsl/define-kernel.js';
import { subgroupDirectives } from '../../../wgsl/text.js';
import type { Group } from '../layout/groups.js';
import { type RowLayout, storedType, vectorType } from '../layout/rows.js';
import type { RowShape } from './row-shape.js';
import { PLAIN_INVOCATIONS, plainRows } from './rows-plain.js';
import { LANES, registersOf, subgroupRows } from './rows-subgroups.js';

export interface RowInputs {
  readonly k: View;
  readonly v: View;
  readonly dOutput: View;
  readonly indices: View;
  readonly scores: View;
}

/** With subgroups whose lanes have `registers` slots each, or, without `registers`, the plain kernel. */
const rowsKernel = kernelFamily(
  'attention-backward rows',
  ({ registers, ...shape }: RowShape & { readonly registers: number | undefined }) => {
    const { layout } = shape;
    return {
      uniforms: {
        rows: 'u32',
        rows_per_unit: 'u32',
        keys: 'u32',
        slots: 'u32',
        scale: 'f32',
        first_row: 'u32',
        query_length: 'u32',
        query_heads: 'u32',
        threshold: 'u32',
        kept_factor: 'f32',
        seed: 'vec2u',
      },
      buffers: {
        key: readFrom(storedType(layout)),
        value: readFrom(storedType(layout)),
        gradient: readFrom(storedType(layout)),
        indices: readFrom('i32'),
        scores: readFrom('u32'),
        result: writeTo(vectorType(layout.width)),
        weights: write('vec2f'),
      },
      workgroup: registers === undefined ? PLAIN_INVOCATIONS : LANES,
      directives: registers === undefined ? [] : subgroupDirectives,
      source: () => (registers === undefined ? plainRows(shape) : subgroupRows(shape, registers)),
    };
  },
);

/** dQ of a group into `result`, and the pairs (P m, dS) of its slots into `weights`; see `plainRows`. */
export function recordRows(
  stream: Stream,
  request: AttentionRequest,
  group: Group,
  layout: RowLayout,
  hasSubgroups: boolean,
  inputs: RowInputs,
  { result, weights }: { readonly result: Binding; readonly weights: Span },
): void {
  const { keyLength, headDim, valueDim, scale, queryLength, queryHeads } = request;
  const slots = request.k as number;
  const rows = group.units * group.rowsPerUnit;
  const keys = group.units * keyLength;
  const firstKey = group.firstUnit * keyLength;
  const { key, threshold, keptScale } = dropoutWords(request.dropout);
  const shape: RowShape = { headDim, valueDim, layout, dropout: request.dropout !== undefined };
  const registers = hasSubgroups ? registersOf(shape, slots) : undefined;
  rowsKernel({ ...shape, registers }).launch(stream, {
    uniforms: {
      rows,
      rows_per_unit: group.rowsPerUnit,
      keys: keyLength,
      slots,
      scale,
      first_row: group.firstRow,
      query_length: queryLength,
      query_heads: queryHeads,
      threshold,
      kept_factor: keptScale,
      seed: key,
    },
    buffers: {
      key: windowOf(inputs.k, firstKey * headDim, keys * headDim),
      value: windowOf(inputs.v, firstKey * valueDim, keys * valueDim),
      gradient: windowOf(inputs.dOutput, group.firstRow * valueDim, rows * valueDim),
      indices: windowOf(inputs.indices, group.firstRow * slots, rows * slots),
      scores: windowOf(inputs.scores, group.firstRow * slots, rows * slots),
      result,
      weights,
    },
    workgroups: rows,
  });
}
