import type { Shape } from '@topk-attention/core';
import {
  type GraphAttentionInputs,
  type GraphAttentionRequest,
  groupSize,
  queryStartOf,
  sizeOf,
} from '@topk-attention/core/backend';
import {
  innerProduct,
  loadRow,
  notNumbers,
  powerOfTwo,
  type RowLayout,
  storedType,
  vectorType,
} from '../attention/backward/layout/rows.js';
import { groupIndex, groupReductions } from '../attention/shared/reductions.js';
import type { Span } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../runtime/view.js';
import { kernelFamily, optional, read, write } from '../wgsl/define-kernel.js';
import { fill } from '../wgsl/fill.js';
import { text } from './rows.wgsl.js';

/** Entries of a query that a workgroup holds. */
export const MOST_ENTRIES = 1024;

const INVOCATIONS = 64;

interface Variant {
  readonly headDim: number;
  readonly valueDim: number;
  readonly half: boolean;
  readonly capacity: number;
  readonly causal: boolean;
  readonly lengths: boolean;
  readonly mask: boolean;
  readonly bias: boolean;
  readonly saves: boolean;
}

/**
 * One workgroup per query: softmax over the scores of the entries that count, times their values. An entry counts if no
 * earlier one names its key and no option hides that; a number outside of the keys, or a score of NaN or +inf, makes the
 * row NaN. Passes over memory: the entries once, rows of the listed keys and values once. Workgroup memory: 8 bytes per
 * entry, and 1.25 KiB.
 */
const rowsKernel = kernelFamily('graph-attention rows', (variant: Variant) => {
  const { headDim, valueDim, half, capacity, causal, lengths, mask, bias, saves } = variant;
  const layout: RowLayout = { width: headDim % 4 === 0 && valueDim % 4 === 0 ? 4 : 1, half };
  const { width } = layout;
  const columns = valueDim / width;
  const across = Math.min(INVOCATIONS, powerOfTwo(columns));
  return {
    uniforms: {
      rows: 'u32',
      query_length: 'u32',
      query_heads: 'u32',
      key_heads: 'u32',
      key_length: 'u32',
      entries: 'u32',
      scale: 'f32',
      group: 'u32',
      query_start: 'i32',
      mask_stride: 'u32',
      graph_stride: 'vec4u',
      bias_stride: 'vec4u',
    },
    buffers: {
      query: read(storedType(layout)),
      key: read(storedType(layout)),
      value: read(storedType(layout)),
      graph: read('i32'),
      lengths: optional(lengths, read('i32')),
      mask: optional(mask, read('u32')),
      bias: optional(bias, read('f32')),
      indices: optional(saves, write('i32')),
      scores: optional(saves, write('u32')),
      result: write(vectorType(width)),
    },
    workgroup: INVOCATIONS,
    source: () => `${loadRow('query', layout)}
${loadRow('key', layout)}
${loadRow('value', layout)}
${innerProduct(width)}
${groupIndex}
${groupReductions(INVOCATIONS)}
${notNumbers}
${fill(text, {
  ...{ capacity, type: vectorType(width), columns: headDim / width, value_columns: columns },
  ...{ across, parts: INVOCATIONS / across, causal, saves },
  ...{ has_lengths: lengths, has_mask: mask, has_bias: bias },
})}`,
  };
});

/** Storage buffers that a launch binds. */
export function buffersOf({ keyLengths, keyMask, bias, saves }: GraphAttentionRequest): number {
  return (
    5 + Number(keyLengths) + Number(keyMask !== undefined) + Number(bias !== undefined) + (saves ? 2 : 0)
  );
}

/** Elements from one index to the next along each axis, 0 where a single index serves all. */
function strides(shape: Shape): readonly number[] {
  return shape.map((extent, axis) => (extent === 1 ? 0 : sizeOf(shape.slice(axis + 1))));
}

/** Output rows in f32 and, if the lists are wanted, the entries that count with their scores. */
export function recordRows(
  stream: Stream,
  request: GraphAttentionRequest,
  inputs: GraphAttentionInputs<View>,
  made: { readonly result: Span; readonly indices?: View; readonly scores?: View },
): void {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim, entries } = request;
  const { q, k, v, graph, keyMask, keyLengths, bias } = inputs;
  const rows = batch * queryHeads * queryLength;
  rowsKernel({
    ...{ headDim, valueDim, half: request.dtype === 'f16', causal: request.causal },
    // Few variants: the arrays of a workgroup are as long as the next of these.
    capacity: entries <= 64 ? 64 : entries <= 256 ? 256 : MOST_ENTRIES,
    ...{ lengths: keyLengths !== undefined, mask: keyMask !== undefined, bias: bias !== undefined },
    saves: made.indices !== undefined,
  }).launch(stream, {
    uniforms: {
      ...{ rows, query_length: queryLength, query_heads: queryHeads, key_heads: keyHeads },
      ...{ key_length: keyLength, entries, scale: request.scale, group: groupSize(request) },
      query_start: request.causal ? queryStartOf(request) : 0,
      mask_stride: keyMask === undefined || keyMask.shape[0] === 1 ? 0 : keyLength,
      graph_stride: strides(request.graph),
      bias_stride: request.bias === undefined ? [0, 0, 0, 0] : strides(request.bias),
    },
    buffers: {
      query: q.span,
      key: k.span,
      value: v.span,
      graph: graph.span,
      lengths: keyLengths?.span,
      mask: keyMask?.span,
      bias: bias?.span,
      indices: made.indices?.span,
      scores: made.scores?.span,
      result: made.result,
    },
    workgroups: rows,
  });
}
