import { gridOf, type Kernel, uniformWords } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../view.js';
import { loadBits, orderedKey16, orderedKey32, storeBits, storedArray } from './wgsl-numbers.js';
import { rowsOf, splitRows, storedBytes, windowOf } from './windows.js';

const INVOCATIONS = 256;

/**
 * A workgroup a row. The k-th largest key is found digit by digit (8 bits, a histogram in workgroup memory); one ascending
 * pass then keeps what lies above it and, of its equals, the first ones, and writes them in order. Reads the row 5 times
 * (f16: 3); 3 KiB of workgroup memory.
 */
function kernelOf(half: boolean): Kernel {
  return {
    key: `top-k${half ? ' f16' : ''}`,
    buffers: ['read', 'write', 'write'],
    source: () => `
struct Params { rows: u32, width: u32, k: u32, x_base: u32, values_base: u32, indices_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> values: ${storedArray(half)};
@group(0) @binding(3) var<storage, read_write> indices: array<i32>;
${half ? orderedKey16 : orderedKey32}
${loadBits('x', half)}
${storeBits('values', half)}

const INVOCATIONS = ${INVOCATIONS}u;
const MINUS_INF = ${half ? '0xfc00u' : '0xff800000u'};
const MINUS_INF_KEY = ${half ? '0x03ff0000u' : '0x007fffffu'};

var<workgroup> histogram: array<atomic<u32>, 256>;
var<workgroup> scanned: array<u32, ${INVOCATIONS}>;
/** Digits found so far, how many are wanted among the keys that share them, whether all are. */
var<workgroup> prefix: u32;
var<workgroup> wanted: u32;

/** Inclusive sums of \`scanned\`, in place. */
fn scan(local: u32) {
  workgroupBarrier();
  for (var step = 1u; step < INVOCATIONS; step <<= 1u) {
    let sum = scanned[local] + select(0u, scanned[max(local, step) - step], local >= step);
    workgroupBarrier();
    scanned[local] = sum;
    workgroupBarrier();
  }
}

/** One digit of the k-th largest key of those that begin with \`found\`. */
fn narrow(start: u32, local: u32, shift: u32, mask: u32) {
  atomicStore(&histogram[local], 0u);
  workgroupBarrier();
  let found = prefix;
  for (var j = local; j < params.width; j += INVOCATIONS) {
    let key = key_of(load_x(start + j));
    if (key > MINUS_INF_KEY && (key & mask) == found) { atomicAdd(&histogram[(key >> shift) & 255u], 1u); }
  }
  workgroupBarrier();
  // Invocation i holds digit 255 - i: sums count from the largest down.
  let mine = atomicLoad(&histogram[255u - local]);
  scanned[local] = mine;
  scan(local);
  let least = wanted;
  let reached = scanned[local];
  workgroupBarrier();
  if (reached >= least && reached - mine < least) {
    prefix = found | ((255u - local) << shift);
    wanted = least - (reached - mine);
  }
  workgroupBarrier();
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
  if (local == 0u) {
    prefix = 0u;
    wanted = params.k;
  }
  workgroupBarrier();
  narrow(start, local, 24u, 0u);
  // Fewer than k lie above -inf: no digit was found, and a threshold of 0 keeps all of them.
  if (workgroupUniformLoad(&scanned[INVOCATIONS - 1u]) >= params.k) {
    narrow(start, local, 16u, 0xff000000u);
    ${half ? '' : 'narrow(start, local, 8u, 0xffff0000u);\n    narrow(start, local, 0u, 0xffffff00u);'}
  }
  let threshold = prefix;
  let quota = wanted;
  var above = 0u;
  var ties = 0u;
  for (var tile = 0u; tile < params.width; tile += INVOCATIONS) {
    let j = tile + local;
    var bits = 0u;
    var key = 0u;
    if (j < params.width) {
      bits = load_x(start + j);
      key = key_of(bits);
    }
    let kept = key > MINUS_INF_KEY;
    let is_above = kept && key > threshold;
    let is_tie = kept && key == threshold;
    scanned[local] = select(0u, 1u, is_above) + select(0u, 0x10000u, is_tie);
    scan(local);
    let before = scanned[local] - select(0u, 1u, is_above) - select(0u, 0x10000u, is_tie);
    let total = scanned[INVOCATIONS - 1u];
    let ties_before = ties + (before >> 16u);
    if (is_above || (is_tie && ties_before < quota)) {
      let slot = row * params.k + above + (before & 0xffffu) + min(ties_before, quota);
      store_values(params.values_base + slot, bits);
      indices[params.indices_base + slot] = i32(j);
    }
    above += total & 0xffffu;
    ties += total >> 16u;
    workgroupBarrier();
  }
  for (var slot = above + min(ties, quota) + local; slot < params.k; slot += INVOCATIONS) {
    store_values(params.values_base + row * params.k + slot, MINUS_INF);
    indices[params.indices_base + row * params.k + slot] = -1;
  }
}`,
  };
}

/**
 * The k largest entries above -inf of each row of the last axis of x, the first of equals at the boundary, in ascending
 * order of index; unused slots last, with -inf and -1. x holds no NaN. `values` has the dtype of x.
 */
export function recordTopK(stream: Stream, x: View, k: number, values: View, indices: View): void {
  const { rows, width } = rowsOf(x.shape);
  if (rows === 0) return;
  const half = x.dtype === 'f16';
  if (half) stream.clear(windowOf(values, 0, rows * k).span);
  const widest = Math.max(width * storedBytes(x.dtype), 4 * k);
  for (const { first, count } of splitRows(stream, 'topK', rows, widest)) {
    const from = windowOf(x, first * width, count * width);
    const to = windowOf(values, first * k, count * k);
    const at = windowOf(indices, first * k, count * k);
    stream.launch({
      kernel: kernelOf(half),
      buffers: [from.span, to.span, at.span],
      uniforms: uniformWords([count, width, k, from.base, to.base, at.base]),
      workgroups: gridOf(count),
    });
  }
}
