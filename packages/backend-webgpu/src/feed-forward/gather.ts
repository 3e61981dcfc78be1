import { gridOf, type Kernel, uniformWords } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import type { Range } from './range.js';
import { NAN_BITS, times } from './wgsl.js';

/**
 * out[token] = sum over its slots of weight * rows[index] (+ bias), a row of NaN where the token had one. Slots are added
 * in order.
 *
 * A workgroup of 256 makes a slab of 4 * lanes columns for 256 / lanes tokens; the slots of every token ascend, so tokens
 * that run together read neighbouring rows, which a narrow slab keeps in the first-level cache. Slabs run one after
 * the other, so that one slab of all rows stays in the second-level cache. No workgroup memory.
 */
export interface GatherShape {
  readonly tokens: number;
  readonly k: number;
  readonly columns: number;
}

export interface GatherParameters {
  /** Rows are whole vectors. */
  readonly isVector: boolean;
  /** Lists are whole vectors. */
  readonly hasVectorLists: boolean;
  readonly bias: boolean;
  readonly accumulate: boolean;
  /** Only tokens with a NaN or with a kept unit that is marked in `marks` are written. */
  readonly isRepair: boolean;
  /** Lists of their own lengths, from `starts` on, instead of k slots a token. */
  readonly isSpread: boolean;
  /** Invocations that share a token, each with a vector of columns. */
  readonly lanes: 8 | 16 | 32 | 64;
}

export interface GatherBuffers {
  /** [any, columns] */
  readonly rows: Range;
  /** i32 [tokens, k] */
  readonly indices: Range;
  /** [tokens, k] */
  readonly weights: Range;
  /** u32 [tokens] */
  readonly counts: Range;
  /** [columns] */
  readonly bias?: Range | undefined;
  /** u32 [tokens], multiples of 4: first slot of each list. */
  readonly starts?: Range | undefined;
  /** u32 [1 + any]: whether any is marked, then a flag each. */
  readonly marks?: Range | undefined;
  /** [tokens, columns] */
  readonly out: Range;
}

export function recordGather(
  stream: Stream,
  shape: GatherShape,
  buffers: GatherBuffers,
  options: { readonly accumulate?: boolean; readonly lanes?: GatherParameters['lanes'] } = {},
): void {
  const { tokens, k, columns } = shape;
  const { rows, indices, weights, counts, starts, bias, marks, out } = buffers;
  const { accumulate = false, lanes = 16 } = options;
  const isVector = columns % 4 === 0 && rows.base % 4 === 0 && out.base % 4 === 0;
  const hasVectorLists =
    (starts !== undefined || k % 4 === 0) && indices.base % 4 === 0 && weights.base % 4 === 0;
  const kernel = gatherKernel({
    isVector,
    hasVectorLists,
    bias: bias !== undefined,
    accumulate,
    isRepair: marks !== undefined,
    isSpread: starts !== undefined,
    lanes,
  });
  const slabs = Math.ceil(columns / (lanes * (isVector ? 4 : 1)));
  const blocks = Math.ceil(tokens / (256 / lanes));
  const list = [rows, indices, weights, counts, starts, bias, marks, out].filter((one) => one !== undefined);
  stream.launch({
    kernel,
    buffers: list.map(({ span }) => span),
    uniforms: uniformWords([
      tokens,
      k,
      columns,
      blocks,
      slabs,
      NAN_BITS,
      rows.base,
      indices.base,
      weights.base,
      counts.base,
      starts?.base ?? 0,
      bias?.base ?? 0,
      marks?.base ?? 0,
      out.base,
    ]),
    workgroups: gridOf(blocks * slabs),
  });
}

export function gatherKernel(parameters: GatherParameters): Kernel {
  const extra = [parameters.bias, parameters.isRepair, parameters.isSpread].filter((one) => one).length;
  return {
    key: `feed-forward gather ${JSON.stringify(parameters)}`,
    buffers: ['read', 'read', 'read', 'read', ...Array<'read'>(extra).fill('read'), 'write'],
    source: () => gatherText(parameters),
  };
}

/** Rows under way at a time. */
const UNROLL = 8;

function gatherText(parameters: GatherParameters): string {
  const { isVector, hasVectorLists, bias, accumulate, isRepair, isSpread, lanes } = parameters;
  let binding = 1;
  const bind = (name: string, type: string, access = 'read'): string =>
    `@group(0) @binding(${binding++}) var<storage, ${access}> ${name}: array<${type}>;`;
  const column = isVector ? 'vec4f' : 'f32';
  const width = isVector ? 4 : 1;
  /** Element of this invocation's columns in row `row` of a buffer. */
  const at = (name: string, row: string): string => `${name}_at + ${row} * stride`;
  const bindings = [
    bind('rows', column),
    bind('indices', hasVectorLists ? 'vec4i' : 'i32'),
    bind('weights', hasVectorLists ? 'vec4f' : 'f32'),
    bind('counts', 'u32'),
    ...(isSpread ? [bind('starts', 'u32')] : []),
    ...(bias ? [bind('bias', 'f32')] : []),
    ...(isRepair ? [bind('marks', 'u32')] : []),
    bind('out', column, 'read_write'),
  ];
  const term = (index: string, weight: string): string =>
    `sum = fma(${isVector ? `vec4f(${weight})` : weight}, rows[${at('rows', `u32(${index})`)}], sum);`;
  const quad = (q: number): string =>
    `let i${q} = indices[index_at / 4u + ${q}u]; let w${q} = weights[weight_at / 4u + ${q}u];`;
  const fetch = (q: number, c: number): string => `let r${q}_${c} = rows[${at('rows', `u32(i${q}[${c}])`)}];`;
  const block = hasVectorLists
    ? `for (; slot + ${UNROLL}u <= count; slot += ${UNROLL}u) {
    let index_at = params.indices_base + list + slot;
    let weight_at = params.weights_base + list + slot;
    ${times(UNROLL / 4, quad, '\n    ')}
    ${times(UNROLL / 4, (q) => times(4, (c) => fetch(q, c), ' '), '\n    ')}
    ${times(UNROLL / 4, (q) => times(4, (c) => `sum = fma(${isVector ? `vec4f(w${q}[${c}])` : `w${q}[${c}]`}, r${q}_${c}, sum);`, ' '), '\n    ')}
  }`
    : '';
  const entry = (name: string): string =>
    hasVectorLists
      ? `${name}[(params.${name}_base + list + slot) / 4u][(params.${name}_base + list + slot) % 4u]`
      : `${name}[params.${name}_base + list + slot]`;
  const biasValue = isVector
    ? `vec4f(${times(4, (c) => `bias[params.bias_base + column + ${c}u]`, ', ')})`
    : 'bias[params.bias_base + column]';
  return `
struct Params { tokens: u32, k: u32, columns: u32, blocks: u32, slabs: u32, nan_bits: u32, rows_base: u32, indices_base: u32, weights_base: u32, counts_base: u32, starts_base: u32, bias_base: u32, marks_base: u32, out_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
${bindings.join('\n')}
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32) {
  let id = group.x + group.y * groups.x;
  let token = (id % params.blocks) * ${256 / lanes}u + t / ${lanes}u;
  let column = ((id / params.blocks) * ${lanes}u + t % ${lanes}u) * ${width}u;
  if (id >= params.blocks * params.slabs || token >= params.tokens || column >= params.columns) { return; }
  let counted = counts[params.counts_base + token];
  let is_nan_row = counted == 0xffffffffu;
  let count = select(counted, 0u, is_nan_row);
  let list = ${isSpread ? 'starts[params.starts_base + token]' : 'token * params.k'};
  var slot = 0u;
  ${
    isRepair
      ? `if (marks[params.marks_base] == 0u && !is_nan_row) { return; }
  var is_marked = is_nan_row;
  for (; slot < count; slot++) {
    if (marks[params.marks_base + 1u + u32(${entry('indices')})] != 0u) { is_marked = true; break; }
  }
  if (!is_marked) { return; }
  slot = 0u;`
      : ''
  }
  let stride = params.columns / ${width}u;
  let rows_at = (params.rows_base + column) / ${width}u;
  let out_at = (params.out_base + column) / ${width}u;
  var sum = ${column}();
  ${block}
  for (; slot < count; slot++) { ${term(entry('indices'), entry('weights'))} }
  ${bias ? `sum += ${biasValue};` : ''}
  if (is_nan_row) { sum = ${column}(bitcast<f32>(params.nan_bits)); }
  let place = ${at('out', 'token')};
  out[place] = ${accumulate ? 'out[place] + ' : ''}sum;
}`;
}
