import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { kernelFamily, read, write } from '../../wgsl/define-kernel.js';
import { TEAM } from './team.js';

/**
 * Workgroups that search the keys of a head; each leaves the first unsafe key that it found, for an invocation of the
 * threshold's team.
 */
export const GUARD_PARTS: typeof TEAM = TEAM;
const INVOCATIONS = 128;

/**
 * Numbers below this in magnitude cannot make a score overflow, whatever they are multiplied by: with a scale of at
 * most 1 a sum of `headDim` products stays below 2^127. Larger numbers, infinities and NaN are left to the slow path.
 */
export function largestSafe(headDim: number, scale: number): number {
  return Math.sqrt(2 ** 124 / (headDim * Math.max(1, Math.abs(scale))));
}

/** Words of what the searches leave: a list for each key head, and one for the relative bias. */
export function guardWords(keyHeads: number, relativeBias: boolean): number {
  return GUARD_PARTS * (keyHeads + (relativeBias ? 1 : 0));
}

/** `is_unsafe_word(bits of an f32)`, above `params.largest_safe`. */
export const unsafeWord = `
fn is_unsafe_word(bits: u32) -> bool {
  return (bits & 0x7fffffffu) > bitcast<u32>(params.largest_safe);
}`;

/**
 * `guard_keys(part of a key head, t)`: the search of a workgroup for keys with an element that could make scores
 * overflow. Needs `load_key`, `unsafeWord` and the buffer `unsafe_keys`; 4 bytes of workgroup memory.
 */
export function guardKeys(headDim: number): string {
  const quads = Math.ceil(headDim / 4);
  return `
${unsafeWord}
var<workgroup> first_unsafe: atomic<u32>;

fn guard_keys(job: u32, t: u32) {
  let key_head = job / ${GUARD_PARTS}u;
  let each = (params.key_length + ${GUARD_PARTS - 1}u) / ${GUARD_PARTS}u;
  let first = job % ${GUARD_PARTS}u * each;
  let end = min(first + each, params.key_length);
  if (t == 0u) { atomicStore(&first_unsafe, 0xffffffffu); }
  workgroupBarrier();
  for (var at = first * ${quads}u + t; at < end * ${quads}u; at += INVOCATIONS) {
    let key = at / ${quads}u;
    let words = bitcast<vec4u>(load_key(key_head * params.key_length + key, at % ${quads}u));
    if (is_unsafe_word(words.x) || is_unsafe_word(words.y) || is_unsafe_word(words.z) || is_unsafe_word(words.w)) {
      atomicMin(&first_unsafe, key);
    }
  }
  workgroupBarrier();
  if (t == 0u) {
    unsafe_keys[params.first_head / params.group * ${GUARD_PARTS}u + job] = atomicLoad(&first_unsafe);
  }
}`;
}

/**
 * The same for the biases of a relative bias, all of which belong to every head: a part with an unsafe one leaves key 0.
 */
const biasGuardKernel = kernelFamily('attention sweeps guard-bias', () => ({
  uniforms: { count: 'u32', place: 'u32', largest_safe: 'f32' },
  buffers: { biases: read('u32'), unsafe_keys: write('u32') },
  workgroup: INVOCATIONS,
  source: () => `
${unsafeWord}
var<workgroup> found: atomic<u32>;

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) t: u32) {
  if (t == 0u) { atomicStore(&found, 0xffffffffu); }
  workgroupBarrier();
  for (var at = id.x * INVOCATIONS + t; at < params.count; at += ${GUARD_PARTS}u * INVOCATIONS) {
    if (is_unsafe_word(biases[at])) { atomicStore(&found, 0u); }
  }
  workgroupBarrier();
  if (t == 0u) { unsafe_keys[params.place + id.x] = atomicLoad(&found); }
}`,
}));

/** `place`: where the list of the biases begins in `unsafe_keys`. */
export function recordBiasGuard(stream: Stream, biases: Span, unsafe_keys: Span, place: number): void {
  biasGuardKernel({}).launch(stream, {
    uniforms: { count: biases.size / 4, place, largest_safe: 2 ** 120 },
    buffers: { biases, unsafe_keys },
    workgroups: [GUARD_PARTS, 1, 1],
  });
}
