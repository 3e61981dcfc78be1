import type { Span } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import { kernelFamily, optional, read, write } from '../wgsl/define-kernel.js';
import { fill } from '../wgsl/fill.js';
import { text } from './chunk-sums.wgsl.js';
import type { Scales } from './peaks.js';
import { TILE } from './sizes.js';

/**
 * Sums of a chunk's outer products, X^T Y: [F, C]. One workgroup per tile of 32 x 32 sums, chunk and group; each reads the
 * rows of X and Y once, in tiles of 32, in the order of the rows. Workgroup memory: 8 KiB.
 */
const sumsKernel = kernelFamily(
  'linear-attention chunk sums',
  ({ scaled }: { readonly scaled: boolean }) => ({
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
      x: read('f32'),
      y: read('f32'),
      logs: optional(scaled, read('f32')),
      peaks: optional(scaled, read('f32')),
      out: write('f32'),
    },
    workgroup: [TILE, 8],
    source: () => fill(text, { scaled }),
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
}

/** x [N, heads, length, F], y [N, heads, length, C] -> out [chunks, N, F, C]. Rows below 0 are none. */
export function recordChunkSums(
  stream: Stream,
  { chunks, backwards, ...sizes }: ChunkSums,
  buffers: { readonly x: Span; readonly y: Span; readonly scales?: Scales | undefined; readonly out: Span },
): void {
  const tiles = Math.ceil(sizes.columns / TILE);
  const { scales, ...others } = buffers;
  sumsKernel({ scaled: scales !== undefined }).launch(stream, {
    uniforms: { ...sizes, tiles, backwards: Number(backwards) },
    buffers: { ...others, logs: scales?.logs, peaks: scales?.peaks },
    workgroups: [tiles * Math.ceil(sizes.features / TILE), chunks, sizes.groups],
  });
}
