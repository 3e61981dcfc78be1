import type { ToeplitzProductRequest } from '@topk-attention/core/backend';
import type { Span } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import { kernelFamily, optional, read, write } from '../wgsl/define-kernel.js';
import { fill } from '../wgsl/fill.js';
import { text as laneText } from './lane.wgsl.js';
import { text } from './pass.wgsl.js';
import { type Axis, seriesOfPass, seriesUniforms } from './series.js';
import { type Chunk, LOG_INVOCATIONS, type Split } from './sizes.js';
import { text as transformText } from './transform.wgsl.js';

/** What a pass does to its series. */
interface Work {
  readonly from: 'factors' | 'columns' | 'parts';
  /** 'product': forwards, times a spectrum, and back. */
  readonly does: 'forward' | 'product' | 'inverse';
  readonly to: 'parts' | 'columns' | 'distances';
  /** The twiddle factors between the two axes: after a transform along the first, before its inverse. */
  readonly turns: boolean;
}

/**
 * Transforms along one axis: each workgroup has up to 2,048 complex numbers of neighbouring series in workgroup memory
 * (16 KiB), reads them once and writes them once.
 */
const passKernel = kernelFamily('toeplitz pass', ({ from, does, to, turns }: Work) => ({
  uniforms: seriesUniforms,
  buffers: {
    factors: optional(from === 'factors', read('f32')),
    x: optional(from === 'columns', read('f32')),
    spectrum: optional(does === 'product', read('vec2f')),
    parts: optional(from === 'parts' || to === 'parts', to === 'parts' ? write('vec2f') : read('vec2f')),
    y: optional(to === 'columns', write('f32')),
    distances: optional(to === 'distances', write('f32')),
  },
  workgroup: 2 ** LOG_INVOCATIONS,
  source: () =>
    [
      transformText,
      laneText,
      fill(text, {
        from_factors: from === 'factors',
        from_columns: from === 'columns',
        from_parts: from === 'parts',
        is_forward: does !== 'inverse',
        multiplies: does === 'product',
        is_inverse: does !== 'forward',
        turns_before: turns && does === 'inverse',
        turns_after: turns && does === 'forward',
        to_parts: to === 'parts',
        to_columns: to === 'columns',
        to_distances: to === 'distances',
      }),
    ].join('\n'),
}));

/** Buffers of a pass: those that its work names. */
interface PassBuffers {
  /** f32 [H, 2 n - 1] */
  readonly factors?: Span;
  /** f32 [B, H, n, C] */
  readonly x?: Span;
  /** vec2f [H, 2^logTotal], as the passes forwards leave it. */
  readonly spectrum?: Span;
  /** vec2f [heads, 2^logTotal, series] of the chunk; in place. */
  readonly parts?: Span;
  /** f32 [B, H, n, C] */
  readonly y?: Span;
  /** f32 [H, 2 n - 1] */
  readonly distances?: Span;
}

/** Records a pass over a chunk along one axis. Along the first axis, numbers are turned. */
export function recordPass(
  stream: Stream,
  request: ToeplitzProductRequest,
  { split, chunk, axis, ...work }: Omit<Work, 'turns'> & PassPlace,
  buffers: PassBuffers,
): void {
  passKernel({ from: work.from, does: work.does, to: work.to, turns: axis === 'columns' }).launch(stream, {
    ...seriesOfPass(request, split, chunk, axis),
    buffers,
  });
}

interface PassPlace {
  readonly split: Split;
  readonly chunk: Chunk;
  readonly axis: Axis;
}

/** One series of each head: the kernels, or sums over all series. */
const onePerHead = ({ heads }: ToeplitzProductRequest): Chunk => ({
  ...{ firstHead: 0, heads, firstSeries: 0, series: 1 },
});

/** The spectra of the heads' kernels, vec2f [H, 2^logTotal], in the order that passes leave them in. */
export function recordSpectra(
  stream: Stream,
  request: ToeplitzProductRequest,
  split: Split,
  { factors, spectra }: { readonly factors: Span; readonly spectra: Span },
): void {
  const place = { split, chunk: onePerHead(request), does: 'forward', to: 'parts' } as const;
  if (split.logRows === 0) {
    recordPass(stream, request, { ...place, axis: 'rows', from: 'factors' }, { factors, parts: spectra });
    return;
  }
  recordPass(stream, request, { ...place, axis: 'columns', from: 'factors' }, { factors, parts: spectra });
  recordPass(stream, request, { ...place, axis: 'rows', from: 'parts' }, { parts: spectra });
}

/** Real parts of the inverse of spectra [H, 2^logTotal], by distance: f32 [H, 2 n - 1]. The spectra are used up. */
export function recordDistances(
  stream: Stream,
  request: ToeplitzProductRequest,
  split: Split,
  { spectra, distances }: { readonly spectra: Span; readonly distances: Span },
): void {
  const place = { split, chunk: onePerHead(request), from: 'parts', does: 'inverse' } as const;
  const last = { parts: spectra, distances };
  if (split.logRows === 0) {
    recordPass(stream, request, { ...place, axis: 'rows', to: 'distances' }, last);
    return;
  }
  recordPass(stream, request, { ...place, axis: 'rows', to: 'parts' }, { parts: spectra });
  recordPass(stream, request, { ...place, axis: 'columns', to: 'distances' }, last);
}
