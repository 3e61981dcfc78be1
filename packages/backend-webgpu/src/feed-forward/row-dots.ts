import type { Binding } from '../runtime/binding.js';
import type { Stream } from '../runtime/stream.js';
import { defineKernel, readFrom, writeTo } from '../wgsl/define-kernel.js';
import { times } from '../wgsl/text.js';

/**
 * values[token, slot] = left[token] . rows[indices[token, slot]], 0 for index -1.
 *
 * A workgroup of 256 takes one token and 128 slots at a time: 16 invocations share a slot, each with every 16th vector
 * of columns for 8 slots, so that an element of left serves 8 rows. The 16 parts are added in order through workgroup
 * memory (8 KiB). Rows are read once per slot that refers to them.
 */
export interface RowDotsShape {
  readonly tokens: number;
  readonly k: number;
  readonly columns: number;
}

export interface RowDotsBuffers {
  /** [tokens, columns] */
  readonly left: Binding;
  /** [any, columns] */
  readonly rows: Binding;
  /** i32 [tokens, k] */
  readonly indices: Binding;
  /** [tokens, k] */
  readonly values: Binding;
}

const SLOTS = 8;

export function recordRowDots(stream: Stream, shape: RowDotsShape, buffers: RowDotsBuffers): void {
  const { tokens, k, columns } = shape;
  const { left, rows } = buffers;
  const isVector = columns % 4 === 0 && left.base % 4 === 0 && rows.base % 4 === 0;
  const blocks = Math.ceil(k / (16 * SLOTS));
  rowDotsKernel(isVector).launch(stream, {
    uniforms: { tokens, k, columns, blocks },
    buffers,
    workgroups: tokens * blocks,
  });
}

const rowDotsKernel = (isVector: boolean) =>
  defineKernel({
    key: `feed-forward row dots${isVector ? '' : ' of single columns'}`,
    uniforms: { tokens: 'u32', k: 'u32', columns: 'u32', blocks: 'u32' },
    buffers: {
      left: readFrom(isVector ? 'vec4f' : 'f32'),
      rows: readFrom(isVector ? 'vec4f' : 'f32'),
      indices: readFrom('i32'),
      values: writeTo('f32'),
    },
    workgroup: 256,
    source: () => rowDotsText(isVector),
  });

function rowDotsText(isVector: boolean): string {
  const width = isVector ? 4 : 1;
  const at = (name: string, row: string): string =>
    isVector
      ? `${name}[(params.${name}_base + ${row} * params.columns + column) / 4u]`
      : `${name}[params.${name}_base + ${row} * params.columns + column]`;
  const product = (u: number): string =>
    isVector
      ? `sum${u} += dot(x, ${at('rows', `row${u}`)});`
      : `sum${u} = fma(x, ${at('rows', `row${u}`)}, sum${u});`;
  return `var<workgroup> parts: array<f32, ${256 * SLOTS}>;
fn unit_of(token: u32, slot: u32) -> u32 {
  if (slot >= params.k) { return 0u; }
  return u32(max(indices[params.indices_base + token * params.k + slot], 0));
}
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32) {
  let id = group.x + group.y * groups.x;
  let token = id / params.blocks;
  if (token >= params.tokens) { return; }
  let slot0 = (id % params.blocks) * ${16 * SLOTS}u;
  let lane = t % 16u;
  let first = slot0 + (t / 16u) * ${SLOTS}u;
  ${times(SLOTS, (u) => `let row${u} = unit_of(token, first + ${u}u); var sum${u} = 0.0;`, '\n  ')}
  for (var column = ${width}u * lane; column < params.columns; column += ${16 * width}u) {
    let x = ${at('left', 'token')};
    ${times(SLOTS, product, '\n    ')}
  }
  ${times(SLOTS, (u) => `parts[((t / 16u) * ${SLOTS}u + ${u}u) * 16u + lane] = sum${u};`, '\n  ')}
  workgroupBarrier();
  let slot = slot0 + t;
  if (t < ${16 * SLOTS}u && slot < params.k) {
    var sum = 0.0;
    for (var i = 0u; i < 16u; i++) { sum += parts[t * 16u + i]; }
    let is_used = indices[params.indices_base + token * params.k + slot] >= 0;
    values[params.values_base + token * params.k + slot] = select(0.0, sum, is_used);
  }
}`;
}
