import type { DType, Shape } from '@topk-attention/core';
import {
  type DrawnEntriesInputs,
  type DrawnEntriesOutputs,
  type DrawnEntriesRequest,
  type FusedOperation,
  philoxKey,
} from '@topk-attention/core/backend';
import type { DeviceFacts } from '../runtime/facts.js';
import type { Stream } from '../runtime/stream.js';
import type { WebGpuTensor } from '../tensor.js';
import { kernelFamily, optional, read, write } from '../wgsl/define-kernel.js';
import { fill } from '../wgsl/fill.js';
import { text as philoxText } from '../wgsl/philox.wgsl.js';
import { times } from '../wgsl/text.js';
import { text } from './drawn-entries.wgsl.js';
import { lanesOf, ROW_INVOCATIONS } from './row-lanes.js';
import { loadFloats } from './row-loads.js';
import {
  type RowMaskKind,
  rowMaskOf,
  rowMaskPlaces,
  rowMaskUniforms,
  rowRefusals,
  seenFrom,
} from './row-masks.js';
import { rowsOf } from './split-rows.js';

/** Entries of a row for each invocation: a choice. */
const EACH = 32;

/**
 * Draws of each row in one pass: 256 / lanes rows a workgroup, which reads its weights once and makes the words of four
 * entries at a time. 4 KiB of workgroup memory.
 */
export function drawnEntries(
  stream: Stream,
  facts: DeviceFacts,
  allocate: (shape: Shape, dtype: DType) => WebGpuTensor,
): FusedOperation<DrawnEntriesRequest, DrawnEntriesInputs<WebGpuTensor>, DrawnEntriesOutputs<WebGpuTensor>> {
  return {
    prepare(request) {
      const refusals = rowRefusals(request, facts, 'no weights');
      if (refusals.length > 0) return { refusals };
      const { shape, seed, firstQuery } = request;
      const { rows, width } = rowsOf(shape);
      const mask = rowMaskOf(request);
      const lanes = lanesOf(width, EACH);
      return {
        scratchBytes: () => 0,
        describe: () => ({ variant: `one pass, ${lanes} invocations a row` }),
        run({ weights, visible }) {
          const [, heads, queries] = shape as readonly [number, number, number, number];
          const ofRows = [...shape.slice(0, -1), 1];
          const positive = allocate(ofRows, 'i32');
          const negative = allocate(ofRows, 'i32');
          drawKernel({ lanes, isVec: width % 4 === 0, mask: mask?.kind ?? 'none' }).launch(stream, {
            uniforms: {
              seed: philoxKey(seed),
              ...{ rows, width, heads, queries, first_query: firstQuery },
              ...rowMaskPlaces(mask),
            },
            buffers: {
              weights: weights.span,
              visible: visible?.span,
              positive: positive.span,
              negative: negative.span,
            },
            workgroups: { invocations: rows * lanes },
          });
          return { positive, negative };
        },
      };
    },
  };
}

interface Variant {
  /** Invocations that share a row. */
  readonly lanes: number;
  /** Four neighbours are read at once. */
  readonly isVec: boolean;
  readonly mask: RowMaskKind;
}

const drawKernel = kernelFamily('drawn-entries', ({ lanes, isVec, mask }: Variant) => ({
  uniforms: {
    seed: 'vec2u',
    rows: 'u32',
    width: 'u32',
    heads: 'u32',
    queries: 'u32',
    first_query: 'u32',
    ...rowMaskUniforms,
  },
  buffers: {
    weights: read(isVec ? 'vec4f' : 'f32'),
    visible: optional(mask !== 'none', read(mask === 'entries' && isVec ? 'vec4u' : 'u32')),
    positive: write('i32'),
    negative: write('i32'),
  },
  workgroup: ROW_INVOCATIONS,
  source: () => `const LANES = ${lanes}u;
${philoxText}
${seenFrom(mask)}
${loadFloats('weights', isVec)}
${loadVisible(isVec, mask)}
${fill(text, { four_entries: times(4, takeEntry, '\n    ') })}`,
}));

/** Takes entry j + i if its word is the largest of its kind so far: of equal ones the first stays. */
function takeEntry(i: number): string {
  return `let is_larger_${i} = vec2<bool>(is_weighted[${i}], is_other[${i}]) & (vec2f(drawn[${i}]) > word);
    word = select(word, vec2f(drawn[${i}]), is_larger_${i});
    place = select(place, vec2i(i32(j + ${i}u)), is_larger_${i});`;
}

/** `load_visible`: whether the entries j to j + 3 of a row are visible. What it says beyond the end does not count. */
function loadVisible(isVec: boolean, mask: RowMaskKind): string {
  const one = (i: number): string => `if (j + ${i}u < width) { quad[${i}] = visible[seen + j + ${i}u]; }`;
  const body = {
    none: 'return vec4<bool>(true);',
    rows: 'return vec4<bool>(visible[seen] != 0u);',
    entries: isVec
      ? 'return visible[(seen + j) / 4u] != vec4u();'
      : `var quad = vec4u();
  ${times(4, one, '\n  ')}
  return quad != vec4u();`,
  };
  return `fn load_visible(seen: u32, j: u32, width: u32) -> vec4<bool> {
  ${body[mask]}
}`;
}
