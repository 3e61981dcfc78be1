import {
  type ProductShape,
  productDeclarations,
  productPlaces,
  productStart,
  scoreRows,
  TILE_KEYS,
  type TileRows,
  tileProducts,
  tileRow,
} from './product.js';
import { type ScoreOptions, scoreFunctions } from './scores-text.js';

/** What the text of the kernel depends on. */
export interface ScoresParameters extends ScoreOptions {
  /** See `ProductShape`. */
  readonly rows: TileRows;
}

/**
 * Scores of all queries of a part with all visible keys: [rows, stride] bits of f32, scale and biases included, -inf
 * where a key is hidden. Keys beyond `visible_of(row)` may be left unwritten.
 *
 * Reads q once per 128 keys, k once per tile of rows; writes the scores once. Workgroup memory: 12 or 16 KiB. Core WebGPU only.
 */
export function tiledScores(p: ScoresParameters): string {
  const shape: ProductShape = p;
  return `
${scoreFunctions(p)}
${productDeclarations(shape)}

fn store_row(row_index: u32, rows: u32, key_head: u32, first_key: u32, near: vec4f, far: vec4f) {
  if (row_index >= rows) { return; }
  let row = row_at(key_head * rows + row_index);
  let visible = visible_of(row);
  let stride = (params.key_length + 3u) / 4u;
  let at = (key_head * rows + row_index) * stride + first_key / 4u;
  if (first_key < visible) { scores[at] = scores_of(near, row, first_key, visible); }
  if (first_key + 64u < visible) { scores[at + 16u] = scores_of(far, row, first_key + 64u, visible); }
}

${tileStart(shape)}
  ${tileProducts(shape, '')}
  ${scoreRows
    .map(
      (i) =>
        `store_row(first_row + ${tileRow(i, shape)}, rows, key_head, first_key + 4u * tx, dots_${i}_0, dots_${i}_1);`,
    )
    .join('\n  ')}
}`;
}

/**
 * The start of `main`: a tile of the keys of a key head for a tile of the rows that use it, with the first dims of its rows
 * on their way.
 */
export function tileStart(shape: ProductShape): string {
  return `@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let rows = params.group * params.queries;
  let key_tiles = (params.visible_keys + ${TILE_KEYS - 1}u) / ${TILE_KEYS}u;
  let row_tiles = (rows + ${shape.rows - 1}u) / ${shape.rows}u;
  let job = id.x + id.y * groups.x;
  if (job >= key_tiles * row_tiles * (params.heads / params.group)) { return; }
  let first_key = ${TILE_KEYS}u * (job % key_tiles);
  let first_row = ${shape.rows}u * (job / key_tiles % row_tiles);
  let key_head = job / key_tiles / row_tiles;
  ${productPlaces}
  ${productStart(
    shape,
    [0, 1, 2, 3]
      .map(
        (j) => `key_row_${j} = key_head * params.key_length
    + min(first_key + 4u * stage_r + ${j}u, params.key_length - 1u);`,
      )
      .join('\n  '),
  )}`;
}

/** The kernel's workgroups for the rows of a part. */
export function tiledScoresGroups(
  keyHeads: number,
  rowsPerKeyHead: number,
  keys: number,
  tileRows: number,
): number {
  return keyHeads * Math.ceil(rowsPerKeyHead / tileRows) * Math.ceil(keys / TILE_KEYS);
}
