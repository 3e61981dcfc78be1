import { gridOf, type Kernel, uniformWords } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../view.js';
import { floatClasses, halfOf, loadBits, orderedKey32, storeBits, storedArray } from './wgsl-numbers.js';
import { rowsOf, splitRows, storedBytes, windowOf } from './windows.js';

const INVOCATIONS = 64;

/**
 * A workgroup a row: largest entry, sum of exponentials, result. Reads the row three times and writes it once; 260 bytes
 * of workgroup memory.
 */
function kernelOf(half: boolean): Kernel {
  return {
    key: `softmax${half ? ' f16' : ''}`,
    buffers: ['read', 'write'],
    source: () => `
struct Params { rows: u32, width: u32, x_base: u32, out_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: ${storedArray(half)};
${floatClasses}
${orderedKey32}
${halfOf}
${loadBits('x', half)}
${storeBits('out', half)}
const MINUS_INF_KEY = 0x007fffffu;
const QUIET_NAN = 0x7fc00000u;
const BAD = 0xffffffffu;

var<workgroup> keys: array<u32, ${INVOCATIONS}>;
var<workgroup> sums: array<f32, ${INVOCATIONS}>;

fn bits_at(at: u32) -> u32 {
  ${half ? 'return bitcast<u32>(unpack2x16float(load_x(at)).x);' : 'return load_x(at);'}
}
fn put(at: u32, value: f32) {
  ${half ? 'store_out(at, half_of(value));' : 'store_out(at, bitcast<u32>(value));'}
}
fn float_of(key: u32) -> f32 {
  return bitcast<f32>(key ^ select(0xffffffffu, 0x80000000u, (key & 0x80000000u) != 0u));
}
/** exp(x - largest), also where the compiler knows of no infinities. */
fn weight(bits: u32, largest: f32) -> f32 {
  return select(exp(max(bitcast<f32>(bits) - largest, -200.0)), 0.0, bits == MINUS_INF_BITS);
}

@compute @workgroup_size(${INVOCATIONS})
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row = workgroup.x + workgroup.y * groups.x;
  if (row >= params.rows) { return; }
  let start = params.x_base + row * params.width;
  let target_start = params.out_base + row * params.width;
  var key = MINUS_INF_KEY;
  for (var j = local; j < params.width; j += ${INVOCATIONS}u) {
    let bits = bits_at(start + j);
    key = max(key, select(key_of(bits), BAD, is_nan_or_plus_inf(bits)));
  }
  keys[local] = key;
  workgroupBarrier();
  for (var step = ${INVOCATIONS / 2}u; step > 0u; step >>= 1u) {
    if (local < step) { keys[local] = max(keys[local], keys[local + step]); }
    workgroupBarrier();
  }
  let top = keys[0];
  let largest = float_of(top);
  var sum = 0.0;
  if (top != BAD && top != MINUS_INF_KEY) {
    for (var j = local; j < params.width; j += ${INVOCATIONS}u) { sum += weight(bits_at(start + j), largest); }
  }
  sums[local] = sum;
  workgroupBarrier();
  for (var step = ${INVOCATIONS / 2}u; step > 0u; step >>= 1u) {
    if (local < step) { sums[local] += sums[local + step]; }
    workgroupBarrier();
  }
  let total = sums[0];
  for (var j = local; j < params.width; j += ${INVOCATIONS}u) {
    if (top == BAD) {
      ${half ? 'store_out(target_start + j, 0x7e00u);' : 'store_out(target_start + j, QUIET_NAN);'}
    } else if (top == MINUS_INF_KEY) {
      put(target_start + j, 0.0);
    } else {
      put(target_start + j, weight(bits_at(start + j), largest) / total);
    }
  }
}`,
  };
}

/** Over the last axis. A row of all -inf gives zeros; a row with NaN or +inf gives NaN throughout. */
export function recordSoftmax(stream: Stream, x: View, out: View): void {
  const { rows, width } = rowsOf(x.shape);
  if (rows * width === 0) return;
  const half = x.dtype === 'f16';
  if (half) stream.clear(windowOf(out, 0, rows * width).span);
  for (const { first, count } of splitRows(stream, 'softmax', rows, width * storedBytes(x.dtype))) {
    const from = windowOf(x, first * width, count * width);
    const to = windowOf(out, first * width, count * width);
    stream.launch({
      kernel: kernelOf(half),
      buffers: [from.span, to.span],
      uniforms: uniformWords([count, width, from.base, to.base]),
      workgroups: gridOf(count),
    });
  }
}
