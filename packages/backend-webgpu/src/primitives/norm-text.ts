import type { NormRequest } from '@topk-attention/core/backend';
import { halvesOf } from '../wgsl/numbers.js';
import { helperText } from './elementwise-wgsl.js';

/**
 * How row kernels read and write: an element of f32, or two halves, as a number or a vector of f32. `get_NAME(at)` and
 * `total_of(value)`; `put(value)` is what is stored.
 */
export function unitsText(half: boolean, names: readonly string[]): string {
  const [type, total] = half ? ['vec2f', 'value.x + value.y'] : ['f32', 'value'];
  return `alias Unit = ${type};
const UNIT = ${half ? 2 : 1}u;
fn total_of(value: Unit) -> f32 { return ${total}; }
${half ? `${halvesOf}\n${helperText(['halfToBits'])}` : ''}
${names
  .map((name) =>
    half
      ? `fn get_${name}(at: u32) -> Unit {
  let word = ${name}[at];
  return vec2f(bitcast<f32>(half_to_bits(word & 0xffffu)), bitcast<f32>(half_to_bits(word >> 16u)));
}`
      : `fn get_${name}(at: u32) -> Unit { return ${name}[at]; }`,
  )
  .join('\n')}
fn put(value: Unit) -> ${half ? 'u32' : 'f32'} { return ${half ? 'halves_of(value.x, value.y)' : 'value'}; }`;
}

/** Element type of the arrays of `unitsText`. */
export const stored = (half: boolean): string => (half ? 'u32' : 'f32');

/** The common start of both row kernels: the invocation's row, with its mean and scale. */
export function rowStart(kind: NormRequest['kind'], lanes: number): string {
  return `const LANES = ${lanes}u;
var<workgroup> sums: array<f32, INVOCATIONS>;

/** The sum over the invocations of a row, for each of them. */
fn row_sum(local: u32, value: f32) -> f32 {
  sums[local] = value;
  workgroupBarrier();
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    var pair = 0.0;
    if (local % LANES < half) { pair = sums[local] + sums[local + half]; }
    workgroupBarrier();
    if (local % LANES < half) { sums[local] = pair; }
    workgroupBarrier();
  }
  let total = sums[local - local % LANES];
  workgroupBarrier();
  return total;
}

struct Row { start: u32, end: u32, mean: f32, scale: f32 }

fn row_of(row: u32, local: u32) -> Row {
  let width = params.width / UNIT;
  // Rows beyond the last have no elements.
  let start = select(0u, row * width, row < params.rows);
  let end = select(0u, start + width, row < params.rows);
  let first = start + local % LANES;
  var mean = 0.0;
  ${
    kind === 'layer'
      ? `var sum = 0.0;
  for (var at = first; at < end; at += LANES) { sum += total_of(get_x(at)); }
  mean = row_sum(local, sum) / f32(params.width);`
      : ''
  }
  var squares = 0.0;
  for (var at = first; at < end; at += LANES) {
    let centred = get_x(at) - mean;
    squares += total_of(centred * centred);
  }
  let scale = inverseSqrt(row_sum(local, squares) / f32(params.width) + params.epsilon);
  return Row(first, end, mean, scale);
}`;
}

/** The entry point of both, with the invocation's `row`. */
export const ENTRY: string = `@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row_at = (workgroup.x + workgroup.y * groups.x) * (INVOCATIONS / LANES) + local / LANES;
  let row = row_of(row_at, local);`;
