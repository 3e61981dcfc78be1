import type { DeviceFacts } from '../runtime/facts.js';
import type { Stream } from '../runtime/stream.js';
import { type DividedTile, divide, fillsUnits, type ProductSizes, tilesOf } from './matmul-cost.js';
import { fitsMatrix, launchMatrix, matrixRefusals } from './matmul-matrix.js';
import { launchNarrow, NARROW_ROWS, narrowParts } from './matmul-narrow.js';
import { inFours } from './matmul-operands.js';
import { launchPlain } from './matmul-plain.js';
import type { Operand, Product } from './matmul-product.js';
import type { MatmulTile, MatrixTile } from './matmul-tile.js';
import { launchTiled } from './matmul-tiled.js';

/** How a product is computed; see `matmul-plain`, `matmul-narrow`, `matmul-tiled` and `matmul-matrix`. */
export type MatmulVariant = 'plain' | 'narrow' | MatmulTile | MatrixTile;

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

/** The same on matrix units; speeds are those of large products, beside the large tile's. */
const LARGE_MATRIX: MatrixTile = {
  ...{ units: 'matrix', rows: 128, columns: 128, depth: 32, down: 2, across: 2, speed: 3.1 },
};
const MEDIUM_MATRIX: MatrixTile = {
  ...{ units: 'matrix', rows: 128, columns: 64, depth: 32, down: 2, across: 2, speed: 2.6 },
};
const SMALL_MATRIX: MatrixTile = {
  ...{ units: 'matrix', rows: 64, columns: 64, depth: 32, down: 1, across: 2, speed: 2.25 },
};

/** Number of tall tiles that keeps a large device busy: with fewer, costs decide. */
const ENOUGH_TILES = 200;

/**
 * By measurement (docs/kernels/primitives.md; tall tiles: docs/kernels/exact.md).
 *
 * @param onUnits whether the product could run on matrix units: of a `Product`, by `fitsUnits`
 */
export function chooseProduct(
  { isSoftware }: Pick<DeviceFacts, 'isSoftware'>,
  sizes: ProductSizes,
  onUnits = false,
): MatmulVariant {
  if (isSoftware) return 'plain';
  if (sizes.rows <= NARROW_ROWS) return 'narrow';
  if (onUnits) return fastest([LARGE_MATRIX, MEDIUM_MATRIX, SMALL_MATRIX], sizes);
  if (sizes.columns <= TALL_TILE.columns && tilesOf(TALL_TILE, sizes) >= ENOUGH_TILES) return TALL_TILE;
  // Wide tiles would compute columns that are not there.
  if (sizes.columns <= TALL_TILE.columns) return fastest([TALL_TILE, SMALL_TILE], sizes);
  return fastest([LARGE_TILE, MEDIUM_TILE, SMALL_TILE], sizes);
}

/**
 * The tile for products in f32 that share a launch: the one that computes least beyond their edges, by its speed. Undefined
 * where they are better launched one by one: each with the way, the tile and the parts that suit it.
 */
export function chooseTogether(
  { isSoftware }: Pick<DeviceFacts, 'isSoftware'>,
  products: readonly ProductSizes[],
): MatmulTile | undefined {
  if (isSoftware || products.some(({ rows }) => rows <= NARROW_ROWS)) return undefined;
  const workOf = (tile: MatmulTile): number =>
    products.reduce((sum, one) => sum + tilesOf(tile, one) * tile.rows * tile.columns * one.inner, 0) /
    tile.speed;
  const tile = [TALL_TILE, LARGE_TILE, MEDIUM_TILE, SMALL_TILE].reduce((best, one) =>
    workOf(one) < workOf(best) ? one : best,
  );
  return fillsUnits(tile, products) ? tile : undefined;
}

function fastest<Tile extends DividedTile>(tiles: readonly Tile[], sizes: ProductSizes): Tile {
  const divided = tiles.map((tile) => divide(tile, sizes));
  return divided.reduce((best, one) => (one.cost < best.cost ? one : best)).tile;
}

/** Whether a product can run on matrix units of the device. */
export function fitsUnits(facts: DeviceFacts, product: Product): boolean {
  return fitsMatrix(product) && matrixRefusals(facts).length === 0;
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
  return `tiles of ${variant.rows} x ${variant.columns}${'units' in variant ? ' on matrix units' : ''}`;
}

export function launchProduct(stream: Stream, given: Product, forced?: MatmulVariant): void {
  const product = asRow(given);
  const variant = forced ?? variantOf(stream.facts, product);
  if (variant === 'plain') launchPlain(stream, product);
  else if (variant === 'narrow') launchNarrow(stream, product);
  else if ('units' in variant) launchMatrix(stream, product, variant);
  else launchTiled(stream, product, variant);
}

function variantOf(facts: DeviceFacts, product: Product): MatmulVariant {
  return chooseProduct(facts, product, fitsUnits(facts, product));
}

/** Whether words of a result of f16 are or-ed into, so that it must have been cleared. */
export function sharesWords(facts: DeviceFacts, given: Product, forced?: MatmulVariant): boolean {
  const product = asRow(given);
  const variant = forced ?? variantOf(facts, product);
  if (variant === 'plain') return true;
  return !inFours(product.out, product.columns) || (variant === 'narrow' && product.transposeB);
}

/**
 * A product with a single column as the transposed one, (a b)^T = b^T a^T, because few rows are the case that is
 * optimised.
 */
function asRow(product: Product): Product {
  const { rows, columns, transposeA, transposeB, a, b, out, epilogue, safeFactor } = product;
  // A bias goes by columns, and the factor belongs to b.
  if (epilogue !== undefined || safeFactor !== undefined || columns > 1 || rows === 1 || out.stride !== 1)
    return product;
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
