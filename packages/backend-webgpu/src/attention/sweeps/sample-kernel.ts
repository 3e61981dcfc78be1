import type { Binding } from '../../runtime/binding.js';
import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { kernelFamily, readFrom, write } from '../../wgsl/define-kernel.js';
import { fill } from '../../wgsl/fill.js';
import { geometryUniforms, type PartGeometry, rowAt } from '../shared/geometry.js';
import { type OptionSpans, optionBuffers } from '../shared/options.js';
import { relativeBiasOf } from '../shared/relative-bias.js';
import {
  invocationsOf,
  operandType,
  type ProductShape,
  productDeclarations,
  productPlaces,
  productStart,
  scoreRows,
  TILE_KEYS,
  type TileRows,
  tileProducts,
  tileRow,
} from '../shared/scores/product.js';
import { visibleOf } from '../shared/validity.js';
import { guardKeys } from './guard-kernel.js';
import { sampledKey, tileSees } from './row-tile.js';
import { text } from './sample.wgsl.js';
import { scoreQuad } from './score.js';

/** What the text of the sweeps' kernels depends on. */
export interface SweepParameters {
  readonly headDim: number;
  readonly dtype: 'f32' | 'f16';
  readonly causal: boolean;
  readonly keyLengths: boolean;
  readonly relativeBias: boolean;
  /** See `ProductShape`. */
  readonly rows: TileRows;
}

/** What both sweeps read. */
export interface SweepInputs {
  readonly geometry: PartGeometry;
  /** Number of row tiles in the part. */
  readonly rowTiles: number;
  readonly q: Binding;
  readonly k: Binding;
  readonly options: Pick<OptionSpans, 'key_lengths' | 'relative'>;
}

/**
 * First sweep: scores of a sample of the keys of every row, keeping the maximum of each group of the sample. Groups
 * are single keys while there is room for them, then four neighbours of the sample, then four from tiles at a fixed
 * distance: keys that lie together fall into different groups. Hidden keys count as the lowest finite number.
 *
 * A launch with a first tile above 0 continues where the previous one stopped. The first workgroups of a launch may
 * search the keys instead, for the threshold: see `guardKeys`.
 */
const sampleKernel = kernelFamily('attention sweeps sample', (p: SweepParameters) => ({
  uniforms: {
    ...geometryUniforms,
    shift: 'u32',
    groups: 'u32',
    first_tile: 'u32',
    end_tile: 'u32',
    shares: 'u32',
    guards: 'u32',
    largest_safe: 'f32',
  },
  buffers: {
    q: readFrom(operandType(p)),
    k: readFrom(operandType(p)),
    maxima: write('f32'),
    unsafe_keys: write('u32'),
    ...optionBuffers(p),
  },
  workgroup: invocationsOf(p),
  source: () => source(p),
}));

/**
 * `maxima`: f32 [rows, groups]. One key in 2^shift; `groups`: a multiple of 128; `shares`: workgroups that share the
 * groups of a tile of rows, a power of two; `guards`: workgroups that search the keys, 0 or `GUARD_PARTS` for each key
 * head of the part, whose lists in `unsafe_keys` they write.
 */
export function recordSample(
  stream: Stream,
  parameters: SweepParameters,
  { geometry, rowTiles, q, k, options }: SweepInputs,
  own: Readonly<
    Record<'shift' | 'groups' | 'first_tile' | 'end_tile' | 'shares' | 'guards' | 'largest_safe', number>
  >,
  buffers: Readonly<Record<'maxima' | 'unsafe_keys', Span>>,
): void {
  const tiles = own.end_tile > own.first_tile ? rowTiles * own.shares : 0;
  sampleKernel(parameters).launch(stream, {
    uniforms: { ...geometry, ...own },
    buffers: { q, k, ...buffers, ...options },
    workgroups: own.guards + tiles,
  });
}

function source(p: SweepParameters): string {
  const shape: ProductShape = p;
  return `
${rowAt}
${visibleOf(p.causal, p.keyLengths)}
${tileSees(p.rows)}
${p.relativeBias ? relativeBiasOf : ''}
${sampledKey}
${productDeclarations(shape)}
${guardKeys(p.headDim)}
${scoreQuad(p.relativeBias)}

${fill(text, {
  ...{ rows: p.rows, last_row: p.rows - 1, tile_keys: TILE_KEYS, last_key: TILE_KEYS - 1 },
  places: productPlaces,
  start: productStart(shape, keyRows('tile')),
  products: tileProducts(shape, keyRows('next')),
  store_rows: scoreRows.map((i) => storeRow(i, shape)).join('\n    '),
})}`;
}

function storeRow(i: number, shape: ProductShape): string {
  const row = `first_row + ${tileRow(i, shape)}`;
  return `store_row(
      key_head * rows + ${row}, ${row} < rows, tile, tx, is_single,
      near_keys, far_keys, dots_${i}_0, dots_${i}_1,
    );`;
}

/** The keys that the invocation loads of a tile; any key will do beyond the last. */
function keyRows(tile: string): string {
  const rows = [0, 1, 2, 3].map(
    (j) => `key_row_${j} = key_head * params.key_length + min(brought[${j}], params.key_length - 1u);`,
  );
  return `{
      let brought = quad_keys(${tile}, stage_r, tiles, shift);
      ${rows.join('\n      ')}
    }`;
}
