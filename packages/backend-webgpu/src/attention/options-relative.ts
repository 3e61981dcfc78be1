import { relativePositionBucket } from '@topk-attention/core';
import type { AttentionRequest } from '@topk-attention/core/backend';
import { gridOf, type Kernel, type Span, uniformWords } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../view.js';
import { relativeReach } from './options-geometry.js';

const INVOCATIONS = 64;

const kernel: Kernel = {
  key: 'attention relative-vector',
  buffers: ['read', 'read', 'write'],
  source: () => `
struct Params { width: u32, heads: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> buckets: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<u32>;
@group(0) @binding(3) var<storage, read_write> vectors: array<u32>;
@compute @workgroup_size(${INVOCATIONS})
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = id.x + id.y * groups.x * ${INVOCATIONS}u;
  if (at >= params.width * params.heads) { return; }
  vectors[at] = table[buckets[at % params.width] * params.heads + at / params.width];
}`,
};

/** Bytes of `recordRelativeVectors`, its transient ones included. */
export function relativeBytes(request: AttentionRequest): number {
  if (request.relativeBias === undefined) return 0;
  return 4 * (2 * relativeReach(request) + 1) * (request.queryHeads + 1);
}

/**
 * f32 [Hq, 2 reach + 1]: the bias of each head by key position minus query position, from -reach to reach, beyond which
 * it stays the same. Undefined for a request without a relative bias. Release it after its last user.
 */
export function recordRelativeVectors(
  stream: Stream,
  request: AttentionRequest,
  table: View | undefined,
): Span | undefined {
  const { relativeBias, queryHeads } = request;
  if (relativeBias === undefined || table === undefined) return undefined;
  const reach = relativeReach(request);
  const width = 2 * reach + 1;
  const bucketOf = Uint32Array.from({ length: width }, (_, at) =>
    relativePositionBucket(at - reach, relativeBias),
  );
  const buckets = stream.scratch(bucketOf.byteLength);
  const vectors = stream.scratch(4 * width * queryHeads);
  stream.write(buckets, new Uint8Array(bucketOf.buffer));
  stream.launch({
    kernel,
    buffers: [buckets, table.span, vectors],
    uniforms: uniformWords([width, queryHeads]),
    workgroups: gridOf(Math.ceil((width * queryHeads) / INVOCATIONS)),
  });
  stream.release(buckets);
  return vectors;
}
