import type { LinearAttentionRequest } from '@topk-attention/core/backend';
import type { Span } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import { defineKernel, kernelFamily, optional, read, write } from '../wgsl/define-kernel.js';
import { forEachElement, times } from '../wgsl/text.js';
import { columnsOf, groupsOf, type Segment, sumsBytes } from './sizes.js';

/** Chunks whose sums an invocation reads before it goes on: one alone would wait for memory every time. */
const AHEAD = 8;

/** WGSL: `own_0` to `own_7`, the sums `at` of the next chunks from `i` on, by the expression for the place of a chunk. */
const readAhead = (chunk: (index: string) => string): string =>
  times(
    AHEAD,
    (j) => `let own_${j} = sums[${chunk(`min(i + ${j}u, params.chunks - 1u)`)} * params.count + at];`,
  );

/** Replaces the sums of each chunk by those before it, and adds all to `carry`: one invocation per sum, chunk by chunk. */
const carryKernel = kernelFamily('linear-attention carry', ({ scaled }: { readonly scaled: boolean }) => ({
  uniforms: {
    count: 'u32',
    chunks: 'u32',
    backwards: 'u32',
    per_group: 'u32',
    keys: 'u32',
    start: 'u32',
    end: 'u32',
    chunk: 'u32',
  },
  buffers: { sums: write('f32'), carry: write('f32'), peaks: optional(scaled, read('f32')) },
  workgroup: 256,
  source: () => `
fn place_of(i: u32) -> u32 { return select(i, params.chunks - 1u - i, params.backwards != 0u); }

${forEachElement(`var before = carry[at];
  ${scaled ? 'let peaks_at = at / params.per_group * (params.keys + 1u);' : ''}
  for (var i = 0u; i < params.chunks; i += ${AHEAD}u) {
    ${readAhead((index) => `place_of(${index})`)}
    ${times(
      AHEAD,
      (j) => `if (i + ${j}u < params.chunks) {
      let chunk = place_of(i + ${j}u);
      sums[chunk * params.count + at] = before;
      ${
        scaled
          ? `let first = params.start + chunk * params.chunk;
      let last = min(first + params.chunk, params.end);
      before *= exp(peaks[peaks_at + first] - peaks[peaks_at + last]);`
          : ''
      }
      before += own_${j};
    }`,
    )}
  }
  carry[at] = before;`)}`,
}));

interface CarryBuffers {
  readonly sums: Span;
  readonly carry: Span;
  readonly backwards: boolean;
  /** With log scales: sums are relative to the largest before a chunk, or after it backwards. */
  readonly peaks?: Span | undefined;
}

/** With `backwards`, those of later chunks take the place of those before. */
export function recordCarry(
  stream: Stream,
  request: LinearAttentionRequest,
  { start, end, chunk, chunks }: Segment,
  { sums, carry, backwards, peaks }: CarryBuffers,
): void {
  const count = sumsBytes(request) / 4;
  carryKernel({ scaled: peaks !== undefined }).launch(stream, {
    uniforms: {
      ...{ count, chunks, backwards: Number(backwards), start, end, chunk },
      per_group: request.features * columnsOf(request),
      keys: request.keyLength,
    },
    buffers: { sums, carry, peaks },
    workgroups: { invocations: count },
  });
}

/** Adds the sums of all chunks to `carry`, in the order of the chunks: one invocation per sum. */
const totalKernel = defineKernel({
  key: 'linear-attention total',
  uniforms: { count: 'u32', chunks: 'u32' },
  buffers: { sums: read('f32'), carry: write('f32') },
  workgroup: 64,
  source: () =>
    forEachElement(`var total = carry[at];
  for (var i = 0u; i < params.chunks; i += ${AHEAD}u) {
    ${readAhead((index) => index)}
    ${times(AHEAD, (j) => `if (i + ${j}u < params.chunks) { total += own_${j}; }`)}
  }
  carry[at] = total;`),
});

/** Without causality: the sums over all keys are all that is read. */
export function recordTotal(
  stream: Stream,
  request: LinearAttentionRequest,
  chunks: number,
  buffers: { readonly sums: Span; readonly carry: Span },
): void {
  const count = sumsBytes(request) / 4;
  totalKernel.launch(stream, { uniforms: { count, chunks }, buffers, workgroups: { invocations: count } });
}

const joinKernel = defineKernel({
  key: 'linear-attention join state',
  uniforms: { count: 'u32', columns: 'u32' },
  buffers: { sums: read('f32'), total: read('f32'), joined: write('f32') },
  workgroup: 256,
  source: () =>
    forEachElement(`let row = at / params.columns;
  let column = at % params.columns;
  if (column + 1u == params.columns) { joined[at] = total[row]; }
  else { joined[at] = sums[row * (params.columns - 1u) + column]; }`),
});

const splitKernel = kernelFamily(
  'linear-attention split state',
  ({ hasTotal }: { readonly hasTotal: boolean }) => ({
    uniforms: { count: 'u32', columns: 'u32' },
    buffers: { joined: read('f32'), sums: write('f32'), total: optional(hasTotal, write('f32')) },
    workgroup: 256,
    source: () =>
      forEachElement(`let row = at / params.columns;
  let column = at % params.columns;
  if (column + 1u < params.columns) { sums[row * (params.columns - 1u) + column] = joined[at]; }
  ${hasTotal ? 'else { total[row] = joined[at]; }' : ''}`),
  }),
);

/** Sums [N, F, Dv] and total [N, F] as one matrix [N, F, Dv + 1]. */
export function recordJoin(
  stream: Stream,
  request: LinearAttentionRequest,
  buffers: { readonly sums: Span; readonly total: Span; readonly joined: Span },
): void {
  const columns = columnsOf(request);
  const count = groupsOf(request) * request.features * columns;
  joinKernel.launch(stream, { uniforms: { count, columns }, buffers, workgroups: { invocations: count } });
}

/** The reverse; without `total` that column is left out. */
export function recordSplit(
  stream: Stream,
  request: LinearAttentionRequest,
  buffers: { readonly joined: Span; readonly sums: Span; readonly total?: Span },
): void {
  const columns = columnsOf(request);
  const count = groupsOf(request) * request.features * columns;
  splitKernel({ hasTotal: buffers.total !== undefined }).launch(stream, {
    uniforms: { count, columns },
    buffers,
    workgroups: { invocations: count },
  });
}
