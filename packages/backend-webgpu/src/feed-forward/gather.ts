import type { Binding } from '../runtime/binding.js';
import type { Stream } from '../runtime/stream.js';
import { kernelFamily, optional, readFrom, writeTo } from '../wgsl/define-kernel.js';
import { fill } from '../wgsl/fill.js';
import { NAN_BITS, times } from '../wgsl/text.js';
import { text } from './gather.wgsl.js';

/**
 * out[token] = sum over its slots of weight * rows[index] (+ bias), a row of NaN where the token had one. Slots are
 * added in order.
 *
 * A workgroup of 256 computes a slab of 64 columns for 16 tokens. The slots of every token ascend, so tokens that run
 * together read neighbouring rows, which a narrow slab keeps in the first-level cache. Slabs run one after the other,
 * so that one slab of all rows stays in the second-level cache. No workgroup memory.
 */
interface GatherShape {
  readonly tokens: number;
  readonly k: number;
  readonly columns: number;
}

interface GatherParameters {
  /** Rows are whole vectors. */
  readonly isVector: boolean;
  /** Lists are whole vectors. */
  readonly hasVectorLists: boolean;
  readonly bias: boolean;
  readonly accumulate: boolean;
  /** Only tokens with a NaN, or with a kept unit that is marked in `marks`, are written. */
  readonly isRepair: boolean;
  /** Lists of individual lengths, beginning at `starts`, instead of k slots per token. */
  readonly isSpread: boolean;
}

interface GatherBuffers {
  /** [any, columns] */
  readonly rows: Binding;
  /** i32 [tokens, k] */
  readonly indices: Binding;
  /** [tokens, k] */
  readonly weights: Binding;
  /** u32 [tokens] */
  readonly counts: Binding;
  /** [columns] */
  readonly bias?: Binding | undefined;
  /** u32 [tokens], multiples of 4: first slot of each list. */
  readonly starts?: Binding | undefined;
  /** u32 [1 + any]: whether any is marked, then one flag each. */
  readonly marks?: Binding | undefined;
  /** [tokens, columns] */
  readonly out: Binding;
}

/** Invocations that share a token, each with a vector of columns. */
const LANES = 16;

/** Rows in flight at a time. */
const UNROLL = 8;

export function recordGather(
  stream: Stream,
  { tokens, k, columns }: GatherShape,
  buffers: GatherBuffers,
  { accumulate = false }: { readonly accumulate?: boolean } = {},
): void {
  const { rows, indices, weights, starts, bias, marks, out } = buffers;
  const isVector = columns % 4 === 0 && rows.base % 4 === 0 && out.base % 4 === 0;
  const kernel = gatherKernel({
    isVector,
    hasVectorLists: (starts !== undefined || k % 4 === 0) && indices.base % 4 === 0 && weights.base % 4 === 0,
    bias: bias !== undefined,
    accumulate,
    isRepair: marks !== undefined,
    isSpread: starts !== undefined,
  });
  const slabs = Math.ceil(columns / (LANES * (isVector ? 4 : 1)));
  const blocks = Math.ceil(tokens / (256 / LANES));
  kernel.launch(stream, {
    uniforms: { tokens, k, columns, blocks, slabs, nan_bits: NAN_BITS },
    buffers,
    workgroups: blocks * slabs,
  });
}

const gatherKernel = kernelFamily('feed-forward gather', (parameters: GatherParameters) => {
  const { isVector, hasVectorLists, bias, isRepair, isSpread } = parameters;
  const column = isVector ? 'vec4f' : 'f32';
  return {
    uniforms: { tokens: 'u32', k: 'u32', columns: 'u32', blocks: 'u32', slabs: 'u32', nan_bits: 'u32' },
    buffers: {
      rows: readFrom(column),
      indices: readFrom(hasVectorLists ? 'vec4i' : 'i32'),
      weights: readFrom(hasVectorLists ? 'vec4f' : 'f32'),
      counts: readFrom('u32'),
      starts: optional(isSpread, readFrom('u32')),
      bias: optional(bias, readFrom('f32')),
      marks: optional(isRepair, readFrom('u32')),
      out: writeTo(column),
    },
    workgroup: 256,
    source: () => gatherText(parameters),
  };
});

/** The parts that `gather.wgsl` leaves to the variant. */
function gatherText(parameters: GatherParameters): string {
  const { isVector, hasVectorLists, bias, accumulate, isRepair, isSpread } = parameters;
  const columns = isVector ? 'vec4f' : 'f32';
  const quad = (q: number): string =>
    `let i${q} = indices[index_at / 4u + ${q}u]; let w${q} = weights[weight_at / 4u + ${q}u];`;
  const fetch = (q: number, c: number): string =>
    `let r${q}_${c} = rows[rows_at + u32(i${q}[${c}]) * stride];`;
  const add = (q: number, c: number): string => `sum = fma(${columns}(w${q}[${c}]), r${q}_${c}, sum);`;
  const quads = (line: (q: number) => string): string => times(UNROLL / 4, line);
  const entry = (name: string): string =>
    hasVectorLists
      ? `${name}[(params.${name}_base + list + slot) / 4u][(params.${name}_base + list + slot) % 4u]`
      : `${name}[params.${name}_base + list + slot]`;
  return fill(text, {
    columns,
    width: isVector ? 4 : 1,
    lanes: LANES,
    unroll: UNROLL,
    is_spread: isSpread,
    is_repair: isRepair,
    has_vector_lists: hasVectorLists,
    has_bias: bias,
    accumulates: accumulate,
    index: entry('indices'),
    weight: entry('weights'),
    add_unrolled: [
      quads(quad),
      quads((q) => times(4, (c) => fetch(q, c), ' ')),
      quads((q) => times(4, (c) => add(q, c), ' ')),
    ].join('\n'),
    bias: isVector
      ? `vec4f(${times(4, (c) => `bias[params.bias_base + column + ${c}u]`, ', ')})`
      : 'bias[params.bias_base + column]',
  });
}
