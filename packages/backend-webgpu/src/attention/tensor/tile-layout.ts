/**
 * How the scores of 32 queries with a tile of 16 keys leave the subgroup matrices:
 *
 * - 'columns': f32, a key's scores side by side (36 apart), read one by one;
 * - 'rows': f32, a query's scores side by side (20 apart), read in fours;
 * - 'half': f16, a query's scores side by side (24 apart), read in eights; products are summed in f16 too, which the
 *   error bound takes into account.
 *
 * Offsets and strides of matrices in an array of vectors count vectors.
 */
export type TileResults = 'columns' | 'rows' | 'half';

/** A group without keys; below every score of the filter, within f16. */
export const EMPTY = -60000;

export interface TileLayout {
  readonly component: 'f32' | 'f16';
  /** Units of the workgroup memory of a subgroup, as counted by matrix stores, by reads, and by the histogram. */
  readonly storeUnits: number;
  readonly readUnits: number;
  readonly binUnits: number;
  readonly readStride: number;
  declare(subgroups: number): string;
  /** Stores the products `s<m>` of queries 16 m to 16 m + 15 with tile j. */
  store(j: number, m: number): string;
  /** Reads the scores of the lane's query with tile j. */
  read(j: number): string;
  /** Replaces what was read of keys that the query does not see, of a tile whose first key is given. */
  hide(firstKey: string): string;
  readonly declareMaxima: string;
  readonly takeMaxima: string;
  /** Stores the 16 maxima as eight words from `at` on, 32 apart, and widens `low` and `high`. */
  readonly emitMaxima: string;
  /** `mask`: which keys score at least `limit`; bits as in `packColumn`. */
  readonly compare: string;
  /** A counter of the lane's histogram. */
  bin(index: string): string;
  readonly binZero: string;
  readonly binOne: string;
}

/**
 * The column of a tile in which its key i lies. Comparisons leave the columns as bits, the even ones in the lower half
 * of a word and the odd ones in the upper; in this order the keys are found in ascending order from the highest bit on.
 */
export function packColumn(key: number): number {
  return key < 8 ? 2 * key + 1 : 2 * (key - 8);
}

/** The inverse of `packColumn`. */
export function keyOfColumn(column: number): number {
  return column % 2 === 1 ? (column - 1) / 2 : column / 2 + 8;
}

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
const COLUMNS: readonly number[] = range(16);
const lines = (texts: readonly string[]): string => texts.join('\n            ');

/** `buffers`: places for tiles per subgroup; with two, tiles take turns, and one barrier per tile is enough. */
export function tileLayout(results: TileResults, buffers: 1 | 2): TileLayout {
  if (results === 'half') return halfRows(buffers);
  return results === 'rows' ? rows(buffers) : columns(buffers);
}

/** What f32 scores, in variables x0 to x15, have in common. */
const f32Scores = {
  component: 'f32',
  hide: (firstKey: string): string =>
    lines(COLUMNS.map((c) => `if (${firstKey} + ${keyOfColumn(c)}u >= visible) { x${c} = ${EMPTY}.0; }`)),
  declareMaxima: lines(COLUMNS.map((c) => `var g${c} = ${EMPTY}.0;`)),
  takeMaxima: lines(COLUMNS.map((c) => `g${c} = max(g${c}, x${c});`)),
  emitMaxima: lines([
    ...COLUMNS.map(
      (c) => `high = max(high, g${c}); low = min(low, select(g${c}, 1e30, g${c} <= ${EMPTY}.0));`,
    ),
    ...range(8).map((w) => `lists[at + ${32 * w}u] = pack2x16float(vec2f(g${2 * w}, g${2 * w + 1}));`),
  ]),
  // The sign bit of the difference, of even and odd columns apart.
  compare: lines([
    'var even = 0u;',
    'var odd = 0u;',
    ...range(8).flatMap((w) => [
      `even = (even << 1u) | (bitcast<u32>(x${2 * w} - limit) >> 31u);`,
      `odd = (odd << 1u) | (bitcast<u32>(x${2 * w + 1} - limit) >> 31u);`,
    ]),
    'let mask = ((odd << 24u) | (even << 8u)) ^ 0xff00ff00u;',
  ]),
  binZero: '0.0',
  binOne: '1.0',
} as const;

function columns(buffers: number): TileLayout {
  const second = (j: number): number => (buffers === 2 ? j : 0);
  const stride = 36;
  const words = 16 * stride;
  return {
    ...f32Scores,
    storeUnits: buffers * words,
    readUnits: buffers * words,
    binUnits: buffers * words,
    readStride: 1,
    declare: (subgroups) => `var<workgroup> scores: array<f32, ${subgroups * buffers * words}>;`,
    store: (j, m) =>
      `subgroupMatrixStore<col_major>(&scores, store_at + ${second(j) * words + 16 * m}u, s${m}, ${stride}u);`,
    read: (j) =>
      lines(COLUMNS.map((c) => `var x${c} = scores[read_at + ${second(j) * words + c * stride}u];`)),
    bin: (index) => `scores[bins_at + ${index} * 32u]`,
  };
}

function rows(buffers: number): TileLayout {
  const second = (j: number): number => (buffers === 2 ? j : 0);
  const stride = 20;
  const words = 32 * stride;
  return {
    ...f32Scores,
    storeUnits: (buffers * words) / 4,
    readUnits: (buffers * words) / 4,
    binUnits: 17 * 32,
    readStride: stride / 4,
    declare: (subgroups) =>
      `var<workgroup> scores: array<vec4f, ${(subgroups * buffers * words) / 4}>;\nvar<workgroup> bins: array<f32, ${subgroups * 17 * 32}>;`,
    store: (j, m) =>
      `subgroupMatrixStore<row_major>(&scores, store_at + ${(second(j) * words + 16 * m * stride) / 4}u, s${m}, ${stride / 4}u);`,
    read: (j) =>
      lines(
        range(4).flatMap((four) => [
          `let y${four} = scores[read_at + ${(second(j) * words) / 4 + four}u];`,
          ...['x', 'y', 'z', 'w'].map((part, i) => `var x${4 * four + i} = y${four}.${part};`),
        ]),
      ),
    bin: (index) => `bins[bins_at + ${index} * 32u]`,
  };
}

function halfRows(buffers: number): TileLayout {
  const second = (j: number): number => (buffers === 2 ? j : 0);
  const stride = 24;
  const halves = 32 * stride;
  const pairs = range(8);
  return {
    component: 'f16',
    storeUnits: (buffers * halves) / 8,
    readUnits: (buffers * halves) / 8,
    binUnits: 17 * 32,
    readStride: stride / 8,
    declare: (subgroups) =>
      `var<workgroup> scores: array<vec4u, ${(subgroups * buffers * halves) / 8}>;\nvar<workgroup> bins: array<u32, ${subgroups * 17 * 32}>;`,
    store: (j, m) =>
      `subgroupMatrixStore<row_major>(&scores, store_at + ${(second(j) * halves + 16 * m * stride) / 8}u, s${m}, ${stride / 8}u);`,
    read: (j) =>
      lines(
        range(2).flatMap((half) => [
          `let y${half} = scores[read_at + ${(second(j) * halves) / 8 + half}u];`,
          ...['x', 'y', 'z', 'w'].map(
            (part, i) => `var x${4 * half + i} = bitcast<vec2h>(y${half}.${part});`,
          ),
        ]),
      ),
    hide: (firstKey) =>
      lines(
        COLUMNS.map(
          (c) =>
            `if (${firstKey} + ${keyOfColumn(c)}u >= visible) { x${Math.floor(c / 2)}.${c % 2 === 0 ? 'x' : 'y'} = ${EMPTY}.0h; }`,
        ),
      ),
    declareMaxima: lines(pairs.map((w) => `var g${w} = vec2h(${EMPTY}.0h);`)),
    takeMaxima: lines(pairs.map((w) => `g${w} = max(g${w}, x${w});`)),
    emitMaxima: lines(
      pairs.flatMap((w) => [
        `let f${w} = vec2f(g${w});`,
        `high = max(high, max(f${w}.x, f${w}.y));`,
        `low = min(low, min(select(f${w}.x, 1e30, f${w}.x <= ${EMPTY}.0), select(f${w}.y, 1e30, f${w}.y <= ${EMPTY}.0)));`,
        `lists[at + ${32 * w}u] = bitcast<u32>(g${w});`,
      ]),
    ),
    // Rounded towards lower numbers; what lies outside f16 lists all or nothing.
    compare: lines([
      `let limits = vec2h(f16(clamp(limit - ${2 ** -10} * abs(limit), -65000.0, 65000.0)));`,
      'var signs = 0u;',
      ...pairs.map((w) => `signs |= (bitcast<u32>(x${w} - limits) & 0x80008000u) >> ${w}u;`),
      'let mask = signs ^ 0xff00ff00u;',
    ]),
    bin: (index) => `bins[bins_at + ${index} * 32u]`,
    binZero: '0u',
    binOne: '1u',
  };
}
