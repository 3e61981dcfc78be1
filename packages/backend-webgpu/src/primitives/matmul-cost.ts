import { invocationsOf, type MatmulTile, type MatrixTile } from './matmul-tile.js';

/** Extents of a product. */
export interface ProductSizes {
  readonly batch: number;
  readonly rows: number;
  readonly inner: number;
  readonly columns: number;
}

/**
 * Workgroups that a large device works at side by side: the units of an H200. A second one on the same unit halves the
 * speed of both.
 */
const UNITS = 132;
/** Most workgroups of a product whose sums are divided, and the fewest terms worth a workgroup. */
const MOST_WORKGROUPS = 4 * UNITS;
const LEAST_TERMS = 256;
/**
 * What adding parts costs, in multiply-adds of a unit: of a launch, and of each number of each part. Chosen so that the
 * shapes of docs/kernels/primitives.md get parts that were fast there; neither was measured by itself.
 */
const LAUNCH_COST = 500_000;
const PART_COST = 0.17;
/** Between the third and the tenth of the time that were measured (docs/kernels/primitives.md); see `costOf`. */
const IDLE_ROUNDS = 0.3;

export type DividedTile = MatmulTile | MatrixTile;

/** Workgroups of a product in one part. */
export function tilesOf(
  tile: Pick<DividedTile, 'rows' | 'columns'>,
  { batch, rows, columns }: ProductSizes,
): number {
  return batch * Math.ceil(rows / tile.rows) * Math.ceil(columns / tile.columns);
}

/**
 * A bound on the bytes of partial sums that a tiled product keeps until they are added, whatever tile it uses; not one of
 * matrix units.
 */
export function splitBytes(batch: number, rows: number, inner: number, columns: number): number {
  const parts = Math.floor(inner / LEAST_TERMS);
  if (parts < 2) return 0;
  const tile = columns > 64 ? 128 * 128 : 64 * 64;
  return Math.min(4 * parts * batch * rows * columns, MOST_WORKGROUPS * 4 * tile);
}

/** A tile with the number of parts that suits it best, and what the product then costs: a time, up to a factor. */
export interface Division<Tile extends DividedTile> {
  readonly tile: Tile;
  readonly parts: number;
  readonly cost: number;
}

/**
 * Divides sums where tiles are few: what counts is how many workgroups the busiest unit goes through, and how long each
 * of them takes. Holds within some 5 % for large tiles of sums in one part (docs/kernels/primitives.md).
 */
export function divide<Tile extends DividedTile>(tile: Tile, sizes: ProductSizes): Division<Tile> {
  const tiles = tilesOf(tile, sizes);
  const most = Math.min(Math.floor(sizes.inner / LEAST_TERMS), Math.floor(MOST_WORKGROUPS / tiles));
  let best: Division<Tile> = { tile, parts: 1, cost: costOf(tile, sizes, tiles, 1) };
  for (let rounds = 1; rounds <= MOST_WORKGROUPS / UNITS; rounds++) {
    const parts = Math.min(most, Math.floor((rounds * UNITS) / tiles));
    if (parts < 2) continue;
    const cost = costOf(tile, sizes, tiles, parts);
    if (cost < best.cost) best = { tile, parts, cost };
  }
  return best;
}

function costOf(tile: DividedTile, sizes: ProductSizes, tiles: number, parts: number): number {
  const { batch, rows, inner, columns } = sizes;
  const terms = Math.ceil(inner / parts / tile.depth) * tile.depth;
  const rounds = Math.ceil((tiles * parts) / UNITS);
  // One or two workgroups of 128 invocations leave a unit idle for a third or a tenth of the time.
  const idle = rounds < 3 && invocationsOf(tile) < 256 ? IDLE_ROUNDS : 0;
  const work = ((rounds + idle) * tile.rows * tile.columns * terms) / tile.speed;
  return parts === 1 ? work : work + LAUNCH_COST + PART_COST * parts * batch * rows * columns;
}

/**
 * Whether products in one launch keep a large device busy without dividing their sums: by the longest tile's terms, which
 * may take a third of what a unit goes through. Products beyond that would still be at it when the others are done.
 */
export function fillsUnits(tile: DividedTile, products: readonly ProductSizes[]): boolean {
  const terms = products.reduce((sum, one) => sum + tilesOf(tile, one) * one.inner, 0);
  const longest = Math.max(...products.map(({ inner }) => inner));
  return 3 * UNITS * longest <= terms;
}
