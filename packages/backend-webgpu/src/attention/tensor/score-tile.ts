import { range } from '../../wgsl/text.js';

/**
 * How the scores of 32 queries with a tile of 16 keys reach the lanes: through workgroup memory, with a key's scores
 * side by side. Padding lets reading lanes and written fragments use different banks. The texts below hold the scores
 * of the lane's query in variables x0 to x15 and the maxima in g0 to g15, by column of the tile.
 */
const STRIDE = 36;

/** Queries of a subgroup: one per lane. */
export const ROWS = 32;

/** Words of workgroup memory per subgroup; the histogram of the threshold uses them too. */
export const TILE_WORDS: number = 16 * STRIDE;

/** The maximum of a group without keys; below every score of the filter, within f16. */
export const EMPTY = -60000;

const COLUMNS: readonly number[] = range(16);
const lines = (texts: readonly string[]): string => texts.join('\n            ');

/**
 * The key of a tile that belongs to a column. Comparisons leave the columns as bits, the even ones in the lower half
 * of a word and the odd ones in the upper half; in this order the keys are found in ascending order, starting at the
 * highest bit.
 */
export function keyOfColumn(column: number): number {
  return column % 2 === 1 ? (column - 1) / 2 : column / 2 + 8;
}

/** Stores the products `s<m>` of queries 16 m to 16 m + 15. */
export function storeProducts(m: number): string {
  return `subgroupMatrixStore<col_major>(&scores, store_at + ${16 * m}u, s${m}, ${STRIDE}u);`;
}

/** Stores one product of the lane's query, for products without matrices. */
export function storeOne(column: string, value: string): string {
  return `scores[read_at + ${column} * ${STRIDE}u] = ${value};`;
}

export const readScores: string = lines(COLUMNS.map((c) => `var x${c} = scores[read_at + ${c * STRIDE}u];`));

/** Hides the keys that the query does not see, in the tile that starts at `firstKey`. */
export function hideScores(firstKey: string): string {
  return lines(
    COLUMNS.map((c) => `if (${firstKey} + ${keyOfColumn(c)}u >= visible) { x${c} = ${EMPTY}.0; }`),
  );
}

export const declareMaxima: string = lines(COLUMNS.map((c) => `var g${c} = ${EMPTY}.0;`));

export const takeMaxima: string = lines(COLUMNS.map((c) => `g${c} = max(g${c}, x${c});`));

/** Stores the 16 maxima as eight words of two f16, starting at `at`, 32 apart, and widens `low` and `high`. */
export const emitMaxima: string = lines([
  ...COLUMNS.map((c) => `high = max(high, g${c}); low = min(low, select(g${c}, 1e30, g${c} <= ${EMPTY}.0));`),
  ...range(8).map((w) => `lists[at + ${32 * w}u] = pack2x16float(vec2f(g${2 * w}, g${2 * w + 1}));`),
]);

/** `mask`: which keys score at least `limit`, from the sign bit of the difference; bits as in `keyOfColumn`. */
export const compareScores: string = lines([
  'var even = 0u;',
  'var odd = 0u;',
  ...range(8).flatMap((w) => [
    `even = (even << 1u) | (bitcast<u32>(x${2 * w} - limit) >> 31u);`,
    `odd = (odd << 1u) | (bitcast<u32>(x${2 * w + 1} - limit) >> 31u);`,
  ]),
  'let mask = ((odd << 24u) | (even << 8u)) ^ 0xff00ff00u;',
]);
