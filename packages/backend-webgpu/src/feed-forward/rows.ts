import type { Binding } from '../runtime/binding.js';
import type { Stream } from '../runtime/stream.js';
import { defineKernel, readFrom, writeTo } from '../wgsl/define-kernel.js';

/** Small passes over matrices: lengths of rows, sums of columns, a transpose. Sums in a fixed order. */

const rowNorms = defineKernel({
  key: 'feed-forward row norms',
  uniforms: { rows: 'u32', columns: 'u32' },
  buffers: { x: readFrom('f32'), out: writeTo('f32') },
  workgroup: 64,
  source: () => `var<workgroup> part: array<f32, 64>;
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32) {
  let row = group.x + group.y * groups.x;
  if (row >= params.rows) { return; }
  var sum = 0.0;
  for (var c = t; c < params.columns; c += 64u) {
    let value = x[params.x_base + row * params.columns + c];
    sum = fma(value, value, sum);
  }
  part[t] = sum;
  for (var step = 32u; step > 0u; step /= 2u) {
    workgroupBarrier();
    if (t < step) { part[t] += part[t + step]; }
  }
  if (t == 0u) { out[params.out_base + row] = sqrt(part[0]); }
}`,
});

/** out[r] = Euclidean length of row r. */
export function recordRowNorms(
  stream: Stream,
  rows: number,
  columns: number,
  x: Binding,
  out: Binding,
): void {
  rowNorms.launch(stream, { uniforms: { rows, columns }, buffers: { x, out }, workgroups: rows });
}

const markRows = defineKernel({
  key: 'feed-forward mark rows',
  uniforms: { rows: 'u32', columns: 'u32' },
  buffers: { x: readFrom('f32'), marks: writeTo('atomic<u32>') },
  workgroup: 64,
  source: () => `@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32) {
  let row = group.x + group.y * groups.x;
  if (row >= params.rows) { return; }
  var is_marked = false;
  for (var c = t; c < params.columns; c += 64u) {
    let bits = bitcast<u32>(x[params.x_base + row * params.columns + c]);
    is_marked = is_marked || (bits & 0x7f800000u) == 0x7f800000u;
  }
  if (is_marked) {
    atomicOr(&marks[params.marks_base + 1u + row], 1u);
    atomicOr(&marks[params.marks_base], 1u);
  }
}`,
});

/** marks [1 + rows], zero beforehand: first whether any row is marked, then 1 for every row with NaN or an infinity. */
export function recordMarkRows(
  stream: Stream,
  rows: number,
  columns: number,
  x: Binding,
  marks: Binding,
): void {
  markRows.launch(stream, { uniforms: { rows, columns }, buffers: { x, marks }, workgroups: rows });
}

const columnSums = defineKernel({
  key: 'feed-forward column sums',
  uniforms: { rows: 'u32', columns: 'u32' },
  buffers: { x: readFrom('f32'), out: writeTo('f32') },
  workgroup: [16, 16],
  source: () => `var<workgroup> part: array<f32, 256>;
@compute @workgroup_size(INVOCATIONS_X, INVOCATIONS_Y)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) t: vec3u) {
  let column = group.x * 16u + t.x;
  var sum = 0.0;
  if (column < params.columns) {
    for (var row = t.y; row < params.rows; row += 16u) { sum += x[params.x_base + row * params.columns + column]; }
  }
  part[t.y * 16u + t.x] = sum;
  for (var step = 8u; step > 0u; step /= 2u) {
    workgroupBarrier();
    if (t.y < step) { part[t.y * 16u + t.x] += part[(t.y + step) * 16u + t.x]; }
  }
  if (t.y == 0u && column < params.columns) { out[params.out_base + column] += part[t.x]; }
}`,
});

/** out[c] += sum of column c. */
export function recordColumnSums(
  stream: Stream,
  rows: number,
  columns: number,
  x: Binding,
  out: Binding,
): void {
  columnSums.launch(stream, {
    uniforms: { rows, columns },
    buffers: { x, out },
    workgroups: Math.ceil(columns / 16),
  });
}

const transpose = defineKernel({
  key: 'feed-forward transpose',
  uniforms: { rows: 'u32', columns: 'u32', tiles_x: 'u32', tiles: 'u32' },
  buffers: { x: readFrom('f32'), out: writeTo('f32') },
  workgroup: [32, 8],
  source: () => `var<workgroup> tile: array<f32, 1056>;
@compute @workgroup_size(INVOCATIONS_X, INVOCATIONS_Y)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) t: vec3u) {
  let id = group.x + group.y * groups.x;
  if (id >= params.tiles) { return; }
  let column0 = (id % params.tiles_x) * 32u;
  let row0 = (id / params.tiles_x) * 32u;
  for (var i = t.y; i < 32u; i += 8u) {
    if (row0 + i < params.rows && column0 + t.x < params.columns) {
      tile[i * 33u + t.x] = x[params.x_base + (row0 + i) * params.columns + column0 + t.x];
    }
  }
  workgroupBarrier();
  for (var i = t.y; i < 32u; i += 8u) {
    if (column0 + i < params.columns && row0 + t.x < params.rows) {
      out[params.out_base + (column0 + i) * params.rows + row0 + t.x] = tile[t.x * 33u + i];
    }
  }
}`,
});

/** out [columns, rows] from x [rows, columns]. */
export function recordTranspose(
  stream: Stream,
  rows: number,
  columns: number,
  x: Binding,
  out: Binding,
): void {
  const [across, down] = [Math.ceil(columns / 32), Math.ceil(rows / 32)];
  transpose.launch(stream, {
    uniforms: { rows, columns, tiles_x: across, tiles: across * down },
    buffers: { x, out },
    workgroups: across * down,
  });
}
