import type { ToeplitzProductRequest } from '@topk-attention/core/backend';
import type { Binding } from '../runtime/binding.js';
import type { Span } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import {
  defineKernel,
  kernelFamily,
  optional,
  read,
  readFrom,
  write,
  writeTo,
} from '../wgsl/define-kernel.js';
import { fill } from '../wgsl/fill.js';
import { forEachElement, times } from '../wgsl/text.js';
import { columnsText, storeColumnsText } from './columns.js';
import { text } from './gradients.wgsl.js';
import { text as laneText } from './lane.wgsl.js';
import { seriesOfPass, seriesUniforms } from './series.js';
import { type Chunk, LOG_INVOCATIONS, LOG_TILE, logLanesOf, type Split } from './sizes.js';
import { placesOf, transformText } from './transform.js';

/** The output's gradient and x share the tile. */
export const LOG_HALF_TILE: number = LOG_TILE - 1;

/**
 * Rows of the output's gradient and of x, transformed beside each other: their correlation, summed over the series of a
 * workgroup, and the gradient of x. Workgroup memory: 16 KiB.
 */
const gradientKernel = kernelFamily(
  'toeplitz gradients',
  ({ from, log }: { readonly from: 'columns' | 'parts'; readonly log: number }) => ({
    uniforms: seriesUniforms,
    buffers: {
      g: optional(from === 'columns', readFrom('f32')),
      x: optional(from === 'columns', readFrom('f32')),
      x_parts: optional(from === 'parts', read('vec2f')),
      spectrum: read('vec2f'),
      parts: optional(from === 'parts', write('vec2f')),
      y: optional(from === 'columns', writeTo('f32')),
      correlations: write('vec2f'),
    },
    workgroup: 2 ** LOG_INVOCATIONS,
    source: () => {
      const { held, invocations, number, frequency } = placesOf(log);
      const slot = (m: number): string => `slot(begin + ((${frequency(m)}) << params.log_lanes))`;
      return [
        transformText(log),
        laneText,
        ...(from === 'columns' ? [columnsText('g'), columnsText('x'), storeColumnsText] : []),
        fill(text, {
          ...{ from_columns: from === 'columns', invocations, log, length: 2 ** log },
          loads: times(held, (m) => `    v[${m}] = load(lane, is_second, ${number(m)});`),
          puts: times(held, (m) => `    tile[${slot(m)}] = v[${m}];`),
          products: times(
            held,
            (m) => `    v[${m}] = times(v[${m}], conjugate(spectrum[place + ${frequency(m)}]));`,
          ),
          stores: times(held, (m) => `    store(lane, ${number(m)}, v[${m}]);`),
        }),
      ].join('\n');
    },
  }),
);

/** Workgroups that the series of a chunk take: each sums its own. */
export function blocksOf(split: Split, series: number): number {
  return Math.ceil(series / 2 ** logLanesOf(LOG_HALF_TILE, split.logRow, series));
}

/** Either whole columns, of f32 [B, H, n, C] what the chunk needs, or what passes along the first axis made of them. */
type GradientBuffers = {
  /** vec2f [heads, 2^logTotal] of the chunk */
  readonly spectrum: Span;
  /** vec2f [heads, blocks, 2^logTotal] of the chunk */
  readonly correlations: Span;
} & (
  | { readonly g: Binding; readonly x: Binding; readonly y: Binding }
  | { readonly parts: Span; readonly x_parts: Span }
);

/** Records it for a chunk. */
export function recordGradients(
  stream: Stream,
  request: ToeplitzProductRequest,
  split: Split,
  chunk: Chunk,
  buffers: GradientBuffers,
): void {
  gradientKernel({ from: 'g' in buffers ? 'columns' : 'parts', log: split.logRow }).launch(stream, {
    ...seriesOfPass(request, split, chunk, { axis: 'rows', logTile: LOG_HALF_TILE, isRowByRow: true }),
    buffers,
  });
}

/** Sums of the blocks of each head, in their order, on top of those of earlier chunks. */
const sumKernel = defineKernel({
  key: 'toeplitz correlations',
  uniforms: { count: 'u32', log_total: 'u32', blocks: 'u32', first: 'u32', continues: 'u32' },
  buffers: { correlations: read('vec2f'), sums: write('vec2f') },
  workgroup: 256,
  source: () =>
    forEachElement(`let head = at >> params.log_total;
  let place = at - (head << params.log_total);
  var total = vec2f();
  if (params.continues != 0u) { total = sums[params.first + at]; }
  for (var block = 0u; block < params.blocks; block++) {
    total += correlations[((head * params.blocks + block) << params.log_total) + place];
  }
  sums[params.first + at] = total;`),
});

/** Adds a chunk's correlations to vec2f [H, 2^logTotal]. */
export function recordSums(
  stream: Stream,
  { logTotal, ...split }: Split,
  { firstHead, heads, series, isFirst }: Chunk,
  buffers: { readonly correlations: Span; readonly sums: Span },
): void {
  const count = heads * 2 ** logTotal;
  sumKernel.launch(stream, {
    uniforms: {
      ...{ count, log_total: logTotal, blocks: blocksOf({ logTotal, ...split }, series) },
      ...{ first: firstHead * 2 ** logTotal, continues: Number(!isFirst) },
    },
    buffers,
    workgroups: { invocations: count },
  });
}
