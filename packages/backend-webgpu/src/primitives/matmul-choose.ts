import type { DeviceFacts } from '../runtime/facts.js';
import type { Stream } from '../runtime/stream.js';
import { divide, type ProductSizes, tilesOf } from './matmul-cost.js';
import { launchNarrow, NARROW_ROWS, narrowParts } from './matmul-narrow.js';
import { launchPlain } from './matmul-plain.js';
import type { Operand, Product } from './matmul-product.js';
import type { MatmulTile } from './matmul-tile.js';
import { launchTiled } from './matmul-tiled.js';

/** How a product is computed; see `matmul-plain`, `matmul-narrow` and `matmul-tiled`. */
export type MatmulVariant = 'plain' | 'narrow' | MatmulTile;

// Speeds are choices within the rates of docs/kernels/primitives.md (products of training steps), which differ by shape and
// orientation; that of tall tiles, which only decides on parts, was not measured beside the others.
/** For large results. */
export const LARGE_TILE: MatmulTile = {
  ...{ rows: 128, columns: 128, depth: 16, microRows: 8, microColumns: 8, speed: 1 },
};
/** For results that large tiles would divide badly. */
export const MEDIUM_TILE: MatmulTile = {
  ...{ rows: 64, columns: 128, depth: 16, microRows: 8, microColumns: 8, speed: 0.95 },
};
/** For small results. */
export const SMALL_TILE: MatmulTile = {
  ...{ rows: 64, columns: 64, depth: 16, microRows: 8, microColumns: 4, speed: 0.82 },
};
/** For large results of at most 32 columns: heads that narrow. */
export const TALL_TILE: MatmulTile = {
  ...{ rows: 128, columns: 32, depth: 16, microRows: 8, microColumns: 4, speed: 0.8 },
};

/** Number of tall tiles that keeps a large device busy. */
const ENOUGH_TILES = 200;

/** By measurement (docs/kernels/primitives.md; tall tiles: docs/kernels/exact.md). */
export function chooseProduct(
  { isSoftware }: Pick<DeviceFacts, 'isSoftware'>,
  sizes: ProductSizes,
): MatmulVariant {
  if (isSoftware) return 'plain';
  if (sizes.rows <= NARROW_ROWS) return 'narrow';
  if (sizes.columns <= TALL_TILE.columns && tilesOf(TALL_TILE, sizes) >= ENOUGH_TILES) return TALL_TILE;
  const divided = [LARGE_TILE, MEDIUM_TILE, SMALL_TILE].map((tile) => divide(tile, sizes));
  return divided.reduce((best, one) => (one.cost < best.cost ? one : best)).tile;
}

/** Bytes of partial sums that the launch keeps until they are added. */
export function productScratch(variant: MatmulVariant, sizes: ProductSizes): number {
  if (variant === 'plain') return 0;
  const parts = variant === 'narrow' ? narrowParts(sizes) : divide(variant, sizes).parts;
  return parts < 2 ? 0 : 4 * parts * sizes.batch * sizes.rows * sizes.columns;
}

/** In words, for `explain()`. */
export function describeVariant(variant: MatmulVariant): string {
  if (variant === 'plain') return 'an invocation per element';
  if (variant === 'narrow') return 'few rows, sums side by side';
  return `tiles of ${variant.rows} x ${variant.columns}`;
}

export function launchProduct(stream: Stream, given: Product, forced?: MatmulVariant): void {
  const product = asRow(given);
  const variant = forced ?? chooseProduct(stream.facts, product);
  if (variant === 'plain') launchPlain(stream, product);
  else if (variant === 'narrow') launchNarrow(stream, product);
  else launchTiled(stream, product, variant);
}

/**
 * A product with a single column as the transposed one, (a b)^T = b^T a^T, because few rows are the case that is
 * optimised.
 */
function asRow(product: Product): Product {
  const { rows, columns, transposeA, transposeB, a, b, out, epilogue } = product;
  // A bias goes by columns.
  if (epilogue !== undefined || columns > 1 || rows === 1 || out.stride !== 1) return product;
  const turned: Operand = { ...out, stride: rows };
  return {
    ...product,
    transposeA: !transposeB,
    transposeB: !transposeA,
    rows: 1,
    columns: rows,
    a: b,
    b: a,
    out: turned,
  };
}
