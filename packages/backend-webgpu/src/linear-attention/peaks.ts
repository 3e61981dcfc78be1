import type { LinearAttentionInputs, LinearAttentionRequest } from '@topk-attention/core/backend';
import type { Span } from '../runtime/kernel.js';
import { bufferSize } from '../runtime/pool.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../runtime/view.js';
import { defineKernel, kernelFamily, optional, read, write } from '../wgsl/define-kernel.js';
import { forEachElement } from '../wgsl/text.js';
import { groupsOf } from './sizes.js';

/**
 * The log scale of what is not there, instead of -inf: exp of its distance to any other is 0, and no infinity meets a
 * shader. Hidden keys have features of 0, so between two of them any factor will do.
 */
const NOTHING = -3e38;

const INVOCATIONS = 256;

/**
 * Largest log scales so far: peaks [N, Lk + 1], at j the largest before key j, and logs [N, Lk] with `NOTHING` for hidden
 * keys. One workgroup per group, in blocks of 256 keys, each by a scan.
 */
const peaksKernel = kernelFamily(
  'linear-attention peaks',
  ({ continues }: { readonly continues: boolean }) => ({
    uniforms: { keys: 'u32', columns: 'u32', nothing: 'f32' },
    buffers: {
      log_scale: read('u32'),
      before: optional(continues, read('u32')),
      values: read('f32'),
      logs: write('f32'),
      peaks: write('f32'),
    },
    workgroup: INVOCATIONS,
    source: () => `
var<workgroup> scanned: array<f32, INVOCATIONS>;

fn log_of(bits: u32) -> f32 { return select(bitcast<f32>(bits), params.nothing, bits == 0xff800000u); }

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
  let first = group.x * params.keys;
  let first_peak = group.x * (params.keys + 1u);
  var peak = ${continues ? 'log_of(before[group.x])' : 'params.nothing'};
  if (t == 0u) { peaks[first_peak] = peak; }
  for (var start = 0u; start < params.keys; start += INVOCATIONS) {
    let key = start + t;
    var own = params.nothing;
    if (key < params.keys) {
      // The column of ones says whether the key is visible.
      let visible = values[(first + key) * params.columns + params.columns - 1u] != 0.0;
      own = select(params.nothing, log_of(log_scale[first + key]), visible);
      logs[first + key] = own;
    }
    scanned[t] = max(own, peak);
    workgroupBarrier();
    for (var step = 1u; step < INVOCATIONS; step *= 2u) {
      var other = params.nothing;
      if (t >= step) { other = scanned[t - step]; }
      workgroupBarrier();
      scanned[t] = max(scanned[t], other);
      workgroupBarrier();
    }
    if (key < params.keys) { peaks[first_peak + key + 1u] = scanned[t]; }
    peak = scanned[INVOCATIONS - 1u];
    workgroupBarrier();
  }
}`,
  }),
);

/** Log scales of keys, and the largest before each. */
export interface Scales {
  /** [N, Lk] */
  readonly logs: Span;
  /** [N, Lk + 1] */
  readonly peaks: Span;
}

/** Bytes of what `recordPeaks` makes. */
export function scalesBytes(request: LinearAttentionRequest): number {
  if (!request.keyLogScale) return 0;
  const groups = 4 * groupsOf(request);
  return bufferSize(groups * request.keyLength) + bufferSize(groups * (request.keyLength + 1));
}

/** @param values [N, Lk, Dv + 1], as prepared */
export function recordPeaks(
  stream: Stream,
  request: LinearAttentionRequest,
  { keyLogScale, logScaleBefore }: LinearAttentionInputs<View>,
  values: Span,
): Scales | undefined {
  if (keyLogScale === undefined) return undefined;
  const { keyLength, valueDim } = request;
  const groups = groupsOf(request);
  const logs = stream.scratch(4 * groups * keyLength);
  const peaks = stream.scratch(4 * groups * (keyLength + 1));
  peaksKernel({ continues: logScaleBefore !== undefined }).launch(stream, {
    uniforms: { keys: keyLength, columns: valueDim + 1, nothing: NOTHING },
    buffers: { log_scale: keyLogScale.span, before: logScaleBefore?.span, values, logs, peaks },
    workgroups: groups,
  });
  return { logs, peaks };
}

const lastKernel = defineKernel({
  key: 'linear-attention last peak',
  uniforms: { count: 'u32', keys: 'u32', nothing: 'f32' },
  buffers: { peaks: read('f32'), out: write('u32') },
  workgroup: 64,
  source: () =>
    forEachElement(`let peak = peaks[at * (params.keys + 1u) + params.keys];
  out[at] = select(bitcast<u32>(peak), 0xff800000u, peak <= params.nothing);`),
});

/** The largest log scale of all keys, [B, Hkv]; -inf without any. */
export function recordLastPeak(
  stream: Stream,
  request: LinearAttentionRequest,
  peaks: Span,
  out: Span,
): void {
  const count = groupsOf(request);
  lastKernel.launch(stream, {
    uniforms: { count, keys: request.keyLength, nothing: NOTHING },
    buffers: { peaks, out },
    workgroups: { invocations: count },
  });
}
