import { type AttentionRequest, groupSize } from '@topk-attention/core/backend';
import { range } from '../../wgsl/text.js';
import type { Part } from '../shared/geometry.js';
import { loadQuad, operandType } from '../shared/scores/product.js';
import { type ScoreOptions, scoreFunctions } from '../shared/scores/scores-text.js';

/**
 * Attention of few queries, as in decoding: every key is read once and takes part in few products, so what counts is that
 * reads are wide, in order and many at a time. Neighbouring invocations read neighbouring quads of a key; each multiplies
 * its quads, and one invocation per row and key adds the products up, lane after lane: equal keys have equal bits.
 */
export const FEW_INVOCATIONS = 256;
/** Up to this many queries of a head, a tile of them would be mostly empty. A choice: one query was measured. */
const MOST_QUERIES = 8;
const LARGEST_DIM = 256;
/** Rows of queries times keys that a workgroup takes at a time: a choice. */
const TILE_SCORES = 128;

export type FewRows = 1 | 2 | 4;

/** What the text of the products depends on. */
export interface FewRowsShape extends ScoreOptions {
  /** Rows of queries that a workgroup takes, all of one key head. */
  readonly rows: FewRows;
}

/** Whether a call has so few queries that these kernels are the fastest. */
export function hasFewRows({ queryLength, headDim, valueDim, dropout }: AttentionRequest): boolean {
  return (
    queryLength <= MOST_QUERIES && headDim <= LARGEST_DIM && valueDim <= LARGEST_DIM && dropout === undefined
  );
}

/** Rows of queries of a part that share a key head. */
export function rowsPerKeyHead(request: AttentionRequest, { heads, queries }: Part): number {
  const group = groupSize(request);
  return heads < group ? queries : group * queries;
}

/** Rows of a workgroup. */
export function fewRowsOf(rowsOfKeyHead: number): FewRows {
  return rowsOfKeyHead >= 3 ? 4 : rowsOfKeyHead === 2 ? 2 : 1;
}

/** Keys that a workgroup takes at a time. */
export function keysOfTile(rows: FewRows): number {
  return TILE_SCORES / rows;
}

/** Tiles of rows of a part. */
export function rowTilesOf(rowCount: number, rowsOfKeyHead: number, rows: FewRows): number {
  return (rowCount / rowsOfKeyHead) * Math.ceil(rowsOfKeyHead / rows);
}

/** How a row of quads is divided among neighbouring invocations. */
export interface Lanes {
  readonly lanes: 8 | 16;
  /** Quads of an invocation: `lane`, `lane + lanes`, ... */
  readonly each: number;
  /** Whether some of them lie past the end. */
  readonly isPadded: boolean;
  readonly quads: number;
}

export function lanesOf(width: number): Lanes {
  const quads = Math.ceil(width / 4);
  const lanes = quads <= 8 ? 8 : 16;
  const each = Math.ceil(quads / lanes);
  return { lanes, each, isPadded: quads !== lanes * each, quads };
}

/** Element type of the bindings of q, k and v. */
export function fewRowsOperand(width: number, dtype: 'f32' | 'f16'): string {
  return operandType({ headDim: width, dtype });
}

/** Declarations. `q` and `k` are bound by the kernel (`readFrom`), with `geometryUniforms` and `rows_per_key_head`. */
export function fewRowsDeclarations(p: FewRowsShape): string {
  const { lanes } = lanesOf(p.headDim);
  return `
${scoreFunctions(p)}
${loadQuad('load_query', 'q', p)}
${loadQuad('load_key', 'k', p)}

var<workgroup> products: array<f32, ${TILE_SCORES * (lanes + 1)}>;`;
}

/** `load_NAME(row, quad)`, zeros past the end of a row. */
export function loadPadded(name: string, row: string, quad: string, { isPadded, quads }: Lanes): string {
  const load = `load_${name}(${row}, ${quad})`;
  return isPadded
    ? `select(vec4f(), load_${name}(${row}, min(${quad}, ${quads - 1}u)), ${quad} < ${quads}u)`
    : load;
}

/**
 * Statements at the start of `main`, for the rows of tile `row_tile`: `index_0` (row of the part), `row_0`, `is_row_0`,
 * `visible_0` and so on, `key_head` (of the part), and the queries. Expects `t`.
 */
export function fewRowsStart(p: FewRowsShape): string {
  const layout = lanesOf(p.headDim);
  const { lanes, each } = layout;
  const rows = range(p.rows);
  return `
  let tiles_of_key_head = (params.rows_per_key_head + ${p.rows - 1}u) / ${p.rows}u;
  let first_row = row_tile % tiles_of_key_head * ${p.rows}u;
  let row_start = row_tile / tiles_of_key_head * params.rows_per_key_head;
  let lane = t % ${lanes}u;
  let key_of_pass = t / ${lanes}u;
  ${rows
    .map(
      (r) => `let is_row_${r} = first_row + ${r}u < params.rows_per_key_head;
  let index_${r} = row_start + min(first_row + ${r}u, params.rows_per_key_head - 1u);
  let row_${r} = row_at(index_${r});
  let visible_${r} = visible_of(row_${r});
  let query_row_${r} = row_${r}.local_head * params.query_length + row_${r}.local_query;`,
    )
    .join('\n  ')}
  let key_start = key_head_of(row_0.local_head) * params.key_length;
  ${rows
    .flatMap((r) =>
      range(each).map(
        (i) =>
          `let query_${r}_${i} = ${loadPadded('query', `query_row_${r}`, `(lane + ${i * lanes}u)`, layout)};`,
      ),
    )
    .join('\n  ')}`;
}

/**
 * Statements that leave the products of the keys from `first_key` on in workgroup memory. Then a barrier is due, and
 * `fewRowsScore`.
 */
export function fewRowsProducts(p: FewRowsShape): string {
  const layout = lanesOf(p.headDim);
  const { lanes, each } = layout;
  const rows = range(p.rows);
  const keys = keysOfTile(p.rows);
  const keysPerPass = FEW_INVOCATIONS / lanes;
  return range(keys / keysPerPass)
    .map(
      (pass) => `{
      let key = ${pass * keysPerPass}u + key_of_pass;
      let key_row = key_start + min(first_key + key, params.key_length - 1u);
      ${range(each)
        .map((i) => `let b_${i} = ${loadPadded('key', 'key_row', `(lane + ${i * lanes}u)`, layout)};`)
        .join('\n      ')}
      ${rows
        .map(
          (r) =>
            `products[(${r * keys}u + key) * ${lanes + 1}u + lane] = ${range(each)
              .map((i) => `dot(query_${r}_${i}, b_${i})`)
              .join(' + ')};`,
        )
        .join('\n      ')}
    }`,
    )
    .join('\n    ');
}

/** Statements that make `bits`, those of the score of row `t / keys` of the tile and key `first_key + t % keys`. */
export function fewRowsScore(p: FewRowsShape): string {
  const { lanes } = lanesOf(p.headDim);
  const keys = keysOfTile(p.rows);
  const rows = range(p.rows);
  return `var product = products[t * ${lanes + 1}u];
      ${range(lanes - 1)
        .map((l) => `product += products[t * ${lanes + 1}u + ${l + 1}u];`)
        .join(' ')}
      var row = row_0; var visible = visible_0;
      ${rows
        .slice(1)
        .map((r) => `if (t >= ${r * keys}u) { row = row_${r}; visible = visible_${r}; }`)
        .join('\n      ')}
      let score_key = first_key + t % ${keys}u;
      let bits = select(HIDDEN, ${scoreText(p)}, score_key < visible);`;
}

function scoreText({ mask, bias, relativeBias }: FewRowsShape): string {
  return mask || bias || relativeBias
    ? 'score_of(product, row, score_key, visible)'
    : 'bitcast<u32>(params.scale * product)';
}
