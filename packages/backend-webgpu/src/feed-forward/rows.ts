import { gridOf, type Kernel, uniformWords } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import type { Range } from './range.js';

/** Small passes over matrices: lengths of rows, sums of columns, a transpose. Sums in a fixed order. */

const rowNorms: Kernel = {
  key: 'feed-forward row norms',
  buffers: ['read', 'write'],
  source: () => `
struct Params { rows: u32, columns: u32, x_base: u32, out_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
var<workgroup> part: array<f32, 64>;
@compute @workgroup_size(64)
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
};

/** out[r] = Euclidean length of row r. */
export function recordRowNorms(stream: Stream, rows: number, columns: number, x: Range, out: Range): void {
  stream.launch({
    kernel: rowNorms,
    buffers: [x.span, out.span],
    uniforms: uniformWords([rows, columns, x.base, out.base]),
    workgroups: gridOf(rows),
  });
}

const markRows: Kernel = {
  key: 'feed-forward mark rows',
  buffers: ['read', 'write'],
  source: () => `
struct Params { rows: u32, columns: u32, x_base: u32, out_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> marks: array<atomic<u32>>;
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32) {
  let row = group.x + group.y * groups.x;
  if (row >= params.rows) { return; }
  var is_marked = false;
  for (var c = t; c < params.columns; c += 64u) {
    let bits = bitcast<u32>(x[params.x_base + row * params.columns + c]);
    is_marked = is_marked || (bits & 0x7f800000u) == 0x7f800000u;
  }
  if (is_marked) {
    atomicOr(&marks[params.out_base + 1u + row], 1u);
    atomicOr(&marks[params.out_base], 1u);
  }
}`,
};

/** marks [1 + rows], zero before: 1 for every row with NaN or an infinity, first of all whether there is one. */
export function recordMarkRows(stream: Stream, rows: number, columns: number, x: Range, marks: Range): void {
  stream.launch({
    kernel: markRows,
    buffers: [x.span, marks.span],
    uniforms: uniformWords([rows, columns, x.base, marks.base]),
    workgroups: gridOf(rows),
  });
}

const columnSums: Kernel = {
  key: 'feed-forward column sums',
  buffers: ['read', 'write'],
  source: () => `
struct Params { rows: u32, columns: u32, x_base: u32, out_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
var<workgroup> part: array<f32, 256>;
@compute @workgroup_size(16, 16)
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
};

/** out[c] += sum of column c. */
export function recordColumnSums(stream: Stream, rows: number, columns: number, x: Range, out: Range): void {
  stream.launch({
    kernel: columnSums,
    buffers: [x.span, out.span],
    uniforms: uniformWords([rows, columns, x.base, out.base]),
    workgroups: gridOf(Math.ceil(columns / 16)),
  });
}

const transpose: Kernel = {
  key: 'feed-forward transpose',
  buffers: ['read', 'write'],
  source: () => `
struct Params { rows: u32, columns: u32, tiles_x: u32, tiles: u32, x_base: u32, out_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
var<workgroup> tile: array<f32, 1056>;
@compute @workgroup_size(32, 8)
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
};

/** out [columns, rows] from x [rows, columns]. */
export function recordTranspose(stream: Stream, rows: number, columns: number, x: Range, out: Range): void {
  const [across, down] = [Math.ceil(columns / 32), Math.ceil(rows / 32)];
  stream.launch({
    kernel: transpose,
    buffers: [x.span, out.span],
    uniforms: uniformWords([rows, columns, across, across * down, x.base, out.base]),
    workgroups: gridOf(across * down),
  });
}
