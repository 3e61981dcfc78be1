import type { Span } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import { kernelFamily, optional, read, write } from '../wgsl/define-kernel.js';
import { fill } from '../wgsl/fill.js';
import { text } from './chunk-sums.wgsl.js';
import type { Scales } from './peaks.js';
import { columnTiles, featureTile, TILE } from './sizes.js';

interface Variant {
  /** Features of a workgroup, 32 or 64. */
  readonly features: number;
  /** Whether rows of X are whole fours. */
  readonly fours: boolean;
  /** Whether rows of X count as zeros where the last column of Y is 0. */
  readonly hides: boolean;
  /** Whether keys have log scales. */
  readonly scaled: boolean;
}

/**
 * Sums of a chunk's outer products, X^T Y: [F, C]. One workgroup per tile of 32 or 64 features and 32 columns, chunk and
 * group; each reads the rows of X and Y once, in tiles of 32, in the order of the rows, and an invocation sums 4 x 4. A
 * column that would be alone in its tile, as the ones after 32 values, goes with the tile before it: the
 * first and second half of each tile of rows apart. Workgroup memory: 12.6 KiB at most.
 */
const sumsKernel = kernelFamily(
  'linear-attention chunk sums',
  ({ features, fours, hides, scaled }: Variant) => ({
    uniforms: {
      features: 'u32',
      columns: 'u32',
      heads: 'u32',
      length: 'u32',
      first: 'i32',
      end: 'i32',
      chunk: 'u32',
      groups: 'u32',
      tiles: 'u32',
      offset: 'i32',
      keys: 'u32',
      backwards: 'u32',
    },
    buffers: {
      x: read(fours ? 'vec4f' : 'f32'),
      y: read('f32'),
      logs: optional(scaled, read('f32')),
      peaks: optional(scaled, read('f32')),
      out: write('f32'),
    },
    workgroup: [8, features / 4],
    source: () => fill(text, { fours, hides, scaled }),
  }),
);

export interface ChunkSums {
  /** N, and heads of each whose rows are summed. */
  readonly groups: number;
  readonly heads: number;
  /** Widths of X and Y. */
  readonly features: number;
  readonly columns: number;
  /** Rows of a head, and those to sum: `first` to `end - 1`, in chunks that are counted from `first`. */
  readonly length: number;
  readonly first: number;
  readonly end: number;
  readonly chunk: number;
  readonly chunks: number;
  /** Position of row 0, and whether rows are queries. */
  readonly offset: number;
  readonly backwards: boolean;
  readonly keys: number;
  /** Whether rows of X count as zeros where the last column of Y is 0: they may hold anything. */
  readonly hides: boolean;
}

/** x [N, heads, length, F], y [N, heads, length, C] -> out [chunks, N, F, C]. Rows below 0 are none. */
export function recordChunkSums(
  stream: Stream,
  { chunks, backwards, hides, ...sizes }: ChunkSums,
  buffers: { readonly x: Span; readonly y: Span; readonly scales?: Scales | undefined; readonly out: Span },
): void {
  const tiles = columnTiles(sizes.columns, TILE);
  const features = featureTile(sizes.features);
  const { scales, ...others } = buffers;
  sumsKernel({ features, fours: sizes.features % 4 === 0, hides, scaled: scales !== undefined }).launch(
    stream,
    {
      uniforms: { ...sizes, tiles, backwards: Number(backwards) },
      buffers: { ...others, logs: scales?.logs, peaks: scales?.peaks },
      workgroups: [tiles * Math.ceil(sizes.features / features), chunks, sizes.groups],
    },
  );
}
