import type { ToeplitzProductRequest } from '@topk-attention/core/backend';
import type { Binding } from '../runtime/binding.js';
import type { Span } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import { kernelFamily, optional, read, readFrom, write, writeTo } from '../wgsl/define-kernel.js';
import { fill } from '../wgsl/fill.js';
import { times } from '../wgsl/text.js';
import { columnsText, storeColumnsText } from './columns.js';
import { text as laneText } from './lane.wgsl.js';
import { text } from './pass.wgsl.js';
import { type Axis, seriesOfPass, seriesUniforms } from './series.js';
import { type Chunk, LOG_INVOCATIONS, type Split } from './sizes.js';
import { placesOf, transformText } from './transform.js';

/** What a pass does to its series. */
interface Work {
  /** 'both': columns, and kernels made of factors, which go into the spectrum. */
  readonly from: 'factors' | 'columns' | 'both' | 'parts';
  /** 'product': forwards, times a spectrum, and back. */
  readonly does: 'forward' | 'product' | 'inverse';
  readonly to: 'spectrum' | 'parts' | 'columns' | 'distances';
  /** Whether numbers are turned between the axes: after a transform along the first, or before its inverse. */
  readonly turns: boolean;
  /** Logarithm of the numbers of a series. */
  readonly log: number;
}

/**
 * Transforms along one axis: each workgroup has up to 2,048 complex numbers of neighbouring series in workgroup memory
 * (16 KiB), reads them once and writes them once.
 */
const passKernel = kernelFamily('toeplitz pass', ({ from, does, to, turns, log }: Work) => {
  const [takesFactors, takesColumns] = [
    from === 'factors' || from === 'both',
    from === 'columns' || from === 'both',
  ];
  return {
    uniforms: { ...seriesUniforms, blocks: 'u32' },
    buffers: {
      factors: optional(takesFactors, read('f32')),
      x: optional(takesColumns, readFrom('f32')),
      spectrum: optional(takesFactors || does === 'product', (takesFactors ? write : read)('vec2f')),
      parts: optional(from === 'parts' || to === 'parts', (to === 'parts' ? write : read)('vec2f')),
      y: optional(to === 'columns', writeTo('f32')),
      distances: optional(to === 'distances', write('f32')),
    },
    workgroup: 2 ** LOG_INVOCATIONS,
    source: () => {
      const { held, invocations, number, frequency } = placesOf(log);
      const before = does === 'inverse' ? frequency : number;
      const after = does === 'forward' ? frequency : number;
      return [
        transformText(log),
        laneText,
        ...(takesColumns ? [columnsText('x')] : []),
        ...(to === 'columns' ? [storeColumnsText] : []),
        fill(text, {
          invocations,
          reads: times(held, (m) => `    v[${m}] = load(lane, head, is_kernel, ${before(m)});`),
          products: times(held, (m) => `    v[${m}] = times(v[${m}], spectrum[begin + ${frequency(m)}]);`),
          writes: times(held, (m) => `    store(lane, head, is_kernel, ${after(m)}, v[${m}]);`),
          has_both: from === 'both',
          is_kernel: from === 'factors',
          from_factors: takesFactors,
          from_columns: takesColumns,
          from_parts: from === 'parts',
          is_forward: does !== 'inverse',
          multiplies: does === 'product',
          is_inverse: does !== 'forward',
          turns_before: turns && does === 'inverse',
          turns_after: turns && does === 'forward',
          to_spectrum: takesFactors,
          to_parts: to === 'parts',
          to_columns: to === 'columns',
          to_distances: to === 'distances',
        }),
      ].join('\n');
    },
  };
});

/** Buffers of a pass: those that its work names. */
interface PassBuffers {
  /** f32 [H, 2 n - 1] */
  readonly factors?: Span | undefined;
  /** Of f32 [B, H, n, C] what the chunk needs. */
  readonly x?: Binding;
  /** vec2f [heads, 2^logTotal] of the chunk, in the order that passes forwards leave. */
  readonly spectrum?: Span | undefined;
  /** vec2f [heads, 2^logTotal, series] of the chunk; in place. */
  readonly parts?: Span;
  /** The same. */
  readonly y?: Binding;
  /** f32 [H, 2 n - 1] */
  readonly distances?: Span;
}

interface Pass extends Omit<Work, 'turns' | 'log'> {
  readonly axis: Axis;
}

function record(
  stream: Stream,
  request: ToeplitzProductRequest,
  split: Split,
  chunk: Chunk,
  { axis, from, does, to }: Pass,
  buffers: PassBuffers,
): void {
  const { uniforms, workgroups } = seriesOfPass(request, split, chunk, { axis });
  const [blocks, , heads] = workgroups;
  const ofKernels = from === 'both' ? Math.ceil(uniforms.step / 2 ** uniforms.log_lanes) : 0;
  passKernel({ from, does, to, turns: axis === 'columns', log: uniforms.log_length }).launch(stream, {
    uniforms: { ...uniforms, blocks },
    buffers,
    workgroups: [blocks + ofKernels, 1, heads],
  });
}

/** Spectra of the kernels of a chunk's heads, where one pass does it: vec2f [heads, 2^logTotal]. */
export function recordSpectra(
  stream: Stream,
  request: ToeplitzProductRequest,
  split: Split,
  chunk: Chunk,
  buffers: { readonly factors: Span; readonly spectrum: Span },
): void {
  const pass = { axis: 'rows', from: 'factors', does: 'forward', to: 'spectrum' } as const;
  record(stream, request, split, onePerHead(chunk), pass, buffers);
}

/** Whole columns, where one pass does it: to their spectra, times those of the kernels, and back. */
export function recordWhole(
  stream: Stream,
  request: ToeplitzProductRequest,
  split: Split,
  chunk: Chunk,
  buffers: { readonly x: Binding; readonly spectrum: Span; readonly y: Binding },
): void {
  const pass = { axis: 'rows', from: 'columns', does: 'product', to: 'columns' } as const;
  record(stream, request, split, chunk, pass, buffers);
}

/** The first of two passes over columns. With factors, both over the kernels of the chunk's heads. */
export function recordThere(
  stream: Stream,
  request: ToeplitzProductRequest,
  split: Split,
  chunk: Chunk,
  buffers: {
    readonly x: Binding;
    readonly parts: Span;
    readonly kernels?: { readonly factors: Span; readonly spectrum: Span } | undefined;
  },
): void {
  const { x, parts, kernels } = buffers;
  const from = kernels === undefined ? 'columns' : 'both';
  const pass = { axis: 'columns', from, does: 'forward', to: 'parts' } as const;
  record(stream, request, split, chunk, pass, { x, parts, ...kernels });
  if (kernels === undefined) return;
  const rows = { axis: 'rows', from: 'parts', does: 'forward', to: 'parts' } as const;
  record(stream, request, split, onePerHead(chunk), rows, { parts: kernels.spectrum });
}

/** Rows of parts: to their spectra, times those of the kernels, and back. */
export function recordRows(
  stream: Stream,
  request: ToeplitzProductRequest,
  split: Split,
  chunk: Chunk,
  buffers: { readonly parts: Span; readonly spectrum: Span },
): void {
  const pass = { axis: 'rows', from: 'parts', does: 'product', to: 'parts' } as const;
  record(stream, request, split, chunk, pass, buffers);
}

/** The last pass over columns. */
export function recordBack(
  stream: Stream,
  request: ToeplitzProductRequest,
  split: Split,
  chunk: Chunk,
  buffers: { readonly parts: Span; readonly y: Binding },
): void {
  const pass = { axis: 'columns', from: 'parts', does: 'inverse', to: 'columns' } as const;
  record(stream, request, split, chunk, pass, buffers);
}

/** Real parts of the inverse of spectra [H, 2^logTotal], by distance: f32 [H, 2 n - 1]. The spectra are used up. */
export function recordDistances(
  stream: Stream,
  request: ToeplitzProductRequest,
  split: Split,
  { spectra, distances }: { readonly spectra: Span; readonly distances: Span },
): void {
  const { heads } = request;
  const all: Chunk = {
    ...{ firstHead: 0, heads, firstSeries: 0, series: 1, isFirst: true },
    ...{ firstSequence: 0, sequences: heads },
  };
  const pass = { from: 'parts', does: 'inverse' } as const;
  const axis = split.logRows === 0 ? 'rows' : 'columns';
  if (axis === 'columns') {
    record(stream, request, split, all, { ...pass, axis: 'rows', to: 'parts' }, { parts: spectra });
  }
  record(stream, request, split, all, { ...pass, axis, to: 'distances' }, { parts: spectra, distances });
}

/** Of the same heads one series each: their kernels. */
const onePerHead = (chunk: Chunk): Chunk => ({ ...chunk, firstSeries: 0, series: 1 });
