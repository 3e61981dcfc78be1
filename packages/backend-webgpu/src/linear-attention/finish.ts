import type { LinearAttentionRequest } from '@topk-attention/core/backend';
import { notNumbers } from '../attention/backward/layout/rows.js';
import { groupIndex } from '../attention/shared/reductions.js';
import type { Span } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import { kernelFamily, optional, read, write } from '../wgsl/define-kernel.js';
import { forEachElement } from '../wgsl/text.js';
import { columnsOf } from './sizes.js';

/** The least finite f32: a bound that no divisor is below. */
const NO_LEAST = -3.4028234663852886e38;

const leastOf = ({ leastDenominator }: LinearAttentionRequest): number =>
  Math.max(leastDenominator, NO_LEAST);

/** Quotients of sums and their last column, zeros where that is 0; and what was divided by. */
const divideKernel = kernelFamily('linear-attention divide', ({ saves }: { readonly saves: boolean }) => ({
  uniforms: { count: 'u32', width: 'u32', epsilon: 'f32', least: 'f32' },
  buffers: { sums: read('f32'), out: write('f32'), denominators: optional(saves, write('f32')) },
  workgroup: 256,
  source: () =>
    forEachElement(`let row = at / params.width;
  let column = at % params.width;
  var divisor = sums[row * (params.width + 1u) + params.width] + params.epsilon;
  // By bits: a comparison with NaN may come out either way.
  let is_number = (bitcast<u32>(divisor) & 0x7fffffffu) <= 0x7f800000u;
  if (is_number && divisor < params.least) { divisor = params.least; }
  let quotient = sums[row * (params.width + 1u) + column] / divisor;
  out[at] = select(quotient, 0.0, (bitcast<u32>(divisor) & 0x7fffffffu) == 0u);
  ${saves ? 'if (column == 0u) { denominators[row] = divisor; }' : ''}`),
}));

/** sums [rows, Dv + 1] -> out [rows, Dv] */
export function recordDivide(
  stream: Stream,
  request: LinearAttentionRequest,
  buffers: { readonly sums: Span; readonly out: Span; readonly denominators?: Span },
): void {
  const { batch, queryHeads, queryLength, valueDim, epsilon } = request;
  const count = batch * queryHeads * queryLength * valueDim;
  divideKernel({ saves: buffers.denominators !== undefined }).launch(stream, {
    uniforms: { count, width: valueDim, epsilon, least: leastOf(request) },
    buffers,
    workgroups: { invocations: count },
  });
}

const INVOCATIONS = 64;
/** Invocations that share a row. */
const LANES = 8;

/**
 * Gradients (g, h) of a row's sums: g = dO / d, and h = -(g . sums) / d of the sum of weights, 0 if d does not depend on
 * it. Without normalising, (dO, 0). Eight rows per workgroup.
 */
const gradientKernel = kernelFamily(
  'linear-attention row gradients',
  ({ normalise }: { readonly normalise: boolean }) => ({
    uniforms: { rows: 'u32', per_head: 'u32', length: 'u32', first: 'u32', width: 'u32', least: 'f32' },
    buffers: {
      d_output: read('f32'),
      sums: optional(normalise, read('f32')),
      denominators: optional(normalise, read('u32')),
      out: write('f32'),
    },
    workgroup: INVOCATIONS,
    source: () => `
const LANES = ${LANES}u;
${groupIndex}
${notNumbers}
var<workgroup> parts: array<f32, INVOCATIONS>;

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let index = group_index(group, groups) * (INVOCATIONS / LANES) + t / LANES;
  let is_row = index < params.rows;
  let row = index / params.per_head * params.length + params.first + index % params.per_head;
  let first = row * (params.width + 1u);
${
  normalise
    ? `  var bits = 0u;
  if (is_row) { bits = denominators[row]; }
  let is_zero = (bits & 0x7fffffffu) == 0u;
  // Beyond the range of numbers the row is NaN or zeros by accident: its gradients say so.
  let divisor = select(bitcast<f32>(bits), nan(), (bits & 0x7fffffffu) >= 0x7f800000u);
  var along = 0.0;
  for (var d = t % LANES; is_row && d < params.width; d += LANES) {
    let g = select(d_output[row * params.width + d] / divisor, 0.0, is_zero);
    out[first + d] = g;
    along += select(g * sums[first + d], 0.0, is_zero);
  }
  parts[t] = along;
  workgroupBarrier();
  if (!is_row || t % LANES != 0u) { return; }
  for (var lane = 1u; lane < LANES; lane++) { along += parts[t + lane]; }
  out[first + params.width] = select(-along / divisor, 0.0, is_zero || divisor <= params.least);`
    : `  if (!is_row) { return; }
  for (var d = t % LANES; d < params.width; d += LANES) { out[first + d] = d_output[row * params.width + d]; }
  if (t % LANES == 0u) { out[first + params.width] = 0.0; }`
}
}`,
  }),
);

/** For queries `first` to `first + count - 1` of every head; out [B, Hq, Lq, Dv + 1]. */
export function recordRowGradients(
  stream: Stream,
  request: LinearAttentionRequest,
  { first, count }: { readonly first: number; readonly count: number },
  buffers: {
    readonly d_output: Span;
    readonly sums?: Span;
    readonly denominators?: Span;
    readonly out: Span;
  },
): void {
  const { batch, queryHeads, queryLength, valueDim, normalise } = request;
  if (count === 0) return;
  const rows = batch * queryHeads * count;
  gradientKernel({ normalise }).launch(stream, {
    uniforms: {
      ...{ rows, per_head: count, length: queryLength, first, width: valueDim },
      // No divisor is at most this, unless a least one is asked for.
      least: request.leastDenominator > 0 ? request.leastDenominator : NO_LEAST,
    },
    buffers,
    workgroups: Math.ceil((LANES * rows) / INVOCATIONS),
  });
}

/** Bytes of the sums of all rows. */
export const rowSumsBytes = (request: LinearAttentionRequest): number =>
  4 * request.batch * request.queryHeads * request.queryLength * columnsOf(request);
