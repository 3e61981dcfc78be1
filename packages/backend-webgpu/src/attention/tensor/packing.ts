import type { AttentionRequest } from '@topk-attention/core/backend';
import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { kernelFamily, read, readFrom, write } from '../../wgsl/define-kernel.js';
import { fill } from '../../wgsl/fill.js';
import { halvesOf } from '../../wgsl/numbers.js';
import type { ForwardViews } from '../shared/forward-path.js';
import { keyHeadsOf, keyWindow, type Part } from '../shared/geometry.js';
import { absoluteBound, QUERY_NORM, RELATIVE_BOUND, UNBOUNDED } from './error-bound.js';
import { magnitudes } from './magnitudes.js';
import { text } from './pack-keys.wgsl.js';
import { tilesOf } from './parts.js';
import { fourType, loadFour } from './score-text.js';

export interface KeyVariant {
  readonly headDim: number;
  readonly half: boolean;
}

/** Most keys that `centreKernel` looks at. */
const CENTRE_KEYS = 512;

/**
 * A point in the middle of the keys of every head, f32 [heads, D]: the means of a few groups of a sample of keys, then
 * the median of these in each dimension, so that a few extreme keys do not dominate. Subtracting the same vector from
 * all keys shifts all scores of a query equally, but keys are shorter relative to their centre, and so the error
 * bounds are tighter. One workgroup per head.
 */
const centreKernel = kernelFamily('tensor centre keys', ({ headDim, half }: KeyVariant) => {
  const fours = headDim / 4;
  const teams = Math.floor(256 / fours);
  return {
    uniforms: { key_length: 'u32' },
    buffers: { k: readFrom(fourType(half)), centres: write('vec4f') },
    workgroup: 256,
    source: () => `
var<workgroup> means: array<vec4f, ${teams * fours}>;
${loadFour('k', half)}
${magnitudes}
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
  let team = t / ${fours}u;
  let four = t % ${fours}u;
  let sample = min(params.key_length, ${CENTRE_KEYS}u);
  let head_at = params.k_base / 4u + group.x * params.key_length * ${fours}u;
  if (team < ${teams}u) {
    var sum = vec4f();
    var count = 0.0;
    for (var i = team; i < sample; i += ${teams}u) {
      let x = load_k(head_at + (i * (params.key_length / sample)) * ${fours}u + four);
      if (largest_of(x) < INF_BITS) {
        sum += x;
        count += 1.0;
      }
    }
    means[t] = sum / max(count, 1.0);
  }
  workgroupBarrier();
  if (team == 0u) {
    var centre = vec4f();
    for (var a = 0u; a < ${teams}u; a++) {
      let mean = means[a * ${fours}u + four];
      var below = vec4u();
      for (var b = 0u; b < ${teams}u; b++) {
        let other = means[b * ${fours}u + four];
        below += select(vec4u(), vec4u(1u), (other < mean) | ((other == mean) & vec4<bool>(b < a)));
      }
      centre = select(centre, mean, below == vec4u(${Math.floor((teams - 1) / 2)}u));
    }
    centres[group.x * ${fours}u + four] = select(centre, vec4f(), largest_of(centre) >= INF_BITS);
  }
}`,
  };
});

/** Keys per workgroup of `largestKernel`. */
const LARGEST_KEYS_ROWS = 256;

/**
 * For the keys of every head relative to its centre: the largest finite magnitude as bits, and 1 if any is not finite;
 * u32 [heads, 2], cleared before. Grid: blocks of keys, heads. One pass over K.
 */
const largestKernel = kernelFamily('tensor largest keys', ({ headDim, half }: KeyVariant) => {
  const fours = headDim / 4;
  return {
    uniforms: { key_length: 'u32' },
    buffers: { k: readFrom(fourType(half)), centres: read('vec4f'), largest: write('atomic<u32>') },
    workgroup: 256,
    source: () => `
var<workgroup> of_group: atomic<u32>;
var<workgroup> not_finite: atomic<u32>;
${loadFour('k', half)}
${magnitudes}
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
  if (t == 0u) {
    atomicStore(&of_group, 0u);
    atomicStore(&not_finite, 0u);
  }
  workgroupBarrier();
  let first = group.x * ${LARGEST_KEYS_ROWS * fours}u;
  let last = min(first + ${LARGEST_KEYS_ROWS * fours}u, params.key_length * ${fours}u);
  let head_at = params.k_base / 4u + group.y * params.key_length * ${fours}u;
  var most = 0u;
  for (var i = first + t; i < last; i += INVOCATIONS) {
    let here = largest_of(load_k(head_at + i) - centres[group.y * ${fours}u + i % ${fours}u]);
    if (here >= INF_BITS) { atomicStore(&not_finite, 1u); } else { most = max(most, here); }
  }
  atomicMax(&of_group, most);
  workgroupBarrier();
  if (t == 0u) {
    atomicMax(&largest[2u * group.y], atomicLoad(&of_group));
    atomicMax(&largest[2u * group.y + 1u], atomicLoad(&not_finite));
  }
}`,
  };
});

/**
 * Keys relative to their centre as f16 in tiles of 16 keys, each tile stored as contiguous blocks of 16 keys x 16
 * elements, and the error bound of every tile. Missing keys of the last tiles are zeros. A workgroup packs one tile.
 * One pass over K, one over the copy.
 */
const packKernel = kernelFamily('tensor pack keys', ({ headDim, half }: KeyVariant) => {
  const fours = headDim / 4;
  return {
    uniforms: { key_length: 'u32', tiles: 'u32', count: 'u32' },
    buffers: {
      k: readFrom(fourType(half)),
      centres: read('vec4f'),
      largest: read('u32'),
      packed: write('vec2u'),
      bounds: write('f32'),
    },
    workgroup: Math.min(256, 16 * fours),
    source: () => `
var<workgroup> squares: array<f32, ${16 * fours}>;
var<workgroup> magnitudes: array<u32, ${16 * fours}>;
var<workgroup> norms: array<f32, 16>;
${loadFour('k', half)}
${magnitudes}
${halvesOf}
${fill(text, {
  fours,
  tile_fours: 16 * fours,
  relative_bound: QUERY_NORM * RELATIVE_BOUND,
  absolute_bound: absoluteBound(headDim),
  unbounded: UNBOUNDED,
})}`,
  };
});

/** The key heads of a part, packed for the filter. */
export interface PackedKeys {
  readonly firstHead: number;
  readonly packed: Span;
  readonly bounds: Span;
  readonly largest: Span;
  readonly centres: Span;
  release(): void;
}

export function recordPacking(
  stream: Stream,
  request: AttentionRequest,
  views: Pick<ForwardViews, 'k'>,
  part: Part,
): PackedKeys {
  const { keyLength, headDim } = request;
  const heads = keyHeadsOf(request, part).count;
  const tiles = tilesOf(request);
  const variant = { headDim, half: request.dtype === 'f16' };
  const largest = stream.scratch(8 * heads);
  const centres = stream.scratch(4 * heads * headDim);
  const packed = stream.scratch(2 * 16 * heads * tiles * headDim);
  const bounds = stream.scratch(4 * heads * tiles);
  const k = keyWindow(views.k, request, part);
  stream.clear(largest);
  centreKernel(variant).launch(stream, {
    uniforms: { key_length: keyLength },
    buffers: { k, centres },
    workgroups: [heads, 1, 1],
  });
  largestKernel(variant).launch(stream, {
    uniforms: { key_length: keyLength },
    buffers: { k, centres, largest },
    workgroups: [Math.ceil(keyLength / LARGEST_KEYS_ROWS), heads, 1],
  });
  packKernel(variant).launch(stream, {
    uniforms: { key_length: keyLength, tiles, count: tiles * heads },
    buffers: { k, centres, largest, packed, bounds },
    workgroups: tiles * heads,
  });
  return {
    firstHead: part.firstHead,
    packed,
    bounds,
    largest,
    centres,
    release: () => {
      for (const scratch of [largest, centres, packed, bounds]) stream.release(scratch);
    },
  };
}
