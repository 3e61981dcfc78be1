import { range } from '../../../wgsl/text.js';

/**
 * Tile products of queries and keys, f32 in registers: shared by the kernels that sweep over scores or store them.
 *
 * A workgroup takes 64 or 128 rows and 128 keys at a time; an invocation has 8 rows x 8 keys: rows 4 ty .. 4 ty + 3
 * and those half a tile further, keys 4 tx .. 4 tx + 3 and those 64 further. Sixteen dims at a time pass through
 * workgroup memory, transposed, so that both operands of a step are whole vectors. Every product of a query and a key
 * is the same chain of fused multiply-adds over ascending dims, wherever it lies in a tile: equal rows have equal bits
 * in all of these kernels. (The tensor and the exact path sum in other orders.)
 */
export const TILE_KEYS = 128;
const SLICE = 16;
/** Dims of a slice whose products are unrolled: this many still fit in the instruction cache. */
const STEPS = 4;

export interface ProductShape {
  readonly headDim: number;
  readonly dtype: 'f32' | 'f16';
  /** Rows of a tile. 128 need 17 KiB of workgroup memory and 256 invocations; 64 need 13 KiB and 128. */
  readonly rows: TileRows;
  /** Of the functions that load rows, where a kernel has several products: `load_query<suffix>`. Default ''. */
  readonly suffix?: string;
}

export type TileRows = 64 | 128;

/** Rows of the tiles on a device. */
export function tileRowsOn(facts: {
  readonly isSoftware: boolean;
  readonly workgroupBytes: number;
}): TileRows {
  // In software, compiling takes longer than the work, and longer still for larger tiles.
  return facts.isSoftware || facts.workgroupBytes < 32_768 ? 64 : 128;
}

export function invocationsOf({ rows }: Pick<ProductShape, 'rows'>): number {
  return 2 * rows;
}

type Operand = Pick<ProductShape, 'headDim' | 'dtype'>;

const isVectorised = ({ headDim }: Operand): boolean => headDim % 4 === 0;

/** Element type of the bindings of q and k. */
export function operandType(shape: Operand): string {
  if (!isVectorised(shape)) return shape.dtype === 'f32' ? 'f32' : 'u32';
  return shape.dtype === 'f32' ? 'vec4f' : 'vec2u';
}

/** `name(row, quad)`: dims 4 quad .. 4 quad + 3 of a row of `buffer`, declared with `readFrom`; zeros beyond the last. */
export function loadQuad(name: string, buffer: string, shape: Operand): string {
  const { headDim, dtype } = shape;
  const base = `params.${buffer}_base`;
  const guard = headDim % SLICE === 0 ? '' : `if (4u * quad >= ${headDim}u) { return vec4f(); }`;
  if (isVectorised(shape)) {
    const at = `${buffer}[${base} / 4u + row * ${headDim / 4}u + quad]`;
    const load =
      dtype === 'f32'
        ? `return ${at};`
        : `let words = ${at};
  return vec4f(unpack2x16float(words.x), unpack2x16float(words.y));`;
    return `fn ${name}(row: u32, quad: u32) -> vec4f {
  ${guard}
  ${load}
}`;
  }
  const element = dtype === 'f32' ? `${buffer}[at]` : `unpack2x16float(${buffer}[at / 2u])[at % 2u]`;
  return `fn ${name}_element(row: u32, dim: u32) -> f32 {
  if (dim >= ${headDim}u) { return 0.0; }
  let at = ${base} + row * ${headDim}u + dim;
  return ${element};
}
fn ${name}(row: u32, quad: u32) -> vec4f {
  let dim = 4u * quad;
  return vec4f(
    ${name}_element(row, dim), ${name}_element(row, dim + 1u),
    ${name}_element(row, dim + 2u), ${name}_element(row, dim + 3u),
  );
}`;
}

/** Names of an invocation's scores: `dots_<row>_<half>` is a vec4f of 4 keys, rows 0 to 7, halves 0 and 1. */
export const scoreRows: readonly number[] = range(8);

/** Row of the tile that score row i stands for. */
export function tileRow(i: number, { rows }: Pick<ProductShape, 'rows'>): string {
  return `(4u * ty + ${(i % 4) + (rows / 2) * Math.floor(i / 4)}u)`;
}

/** The functions that load rows of buffers which the kernel declares: `readFrom(operandType(shape))`. */
export function productLoaders(shape: ProductShape, queries: string, keys: string): string {
  const { suffix = '' } = shape;
  return `${loadQuad(`load_query${suffix}`, queries, shape)}
${loadQuad(`load_key${suffix}`, keys, shape)}`;
}

/** Workgroup memory and functions. `q` and `k` are declared by the kernel, as for `productLoaders`. */
export function productDeclarations(shape: ProductShape): string {
  return `
${productLoaders(shape, 'q', 'k')}

// [dim][row / 4] and [dim][key / 4]; quads are swapped by dim so that neither writing nor reading meets in one bank.
// Arrays of arrays: a constant first index needs no check of its bound.
var<workgroup> query_tile: array<array<vec4f, ${shape.rows / 4}>, ${SLICE}>;
var<workgroup> key_tile: array<array<vec4f, ${TILE_KEYS / 4}>, ${SLICE}>;

/** The row of q that row \`row\` of a key head's rows is: all queries of one head of its group, then of the next. */
fn query_row(key_head: u32, row: u32) -> u32 {
  let at = min(row, params.group * params.queries - 1u);
  return (key_head * params.group + at / params.queries) * params.query_length + at % params.queries;
}`;
}

/**
 * Statements at the start of `main`: which scores the invocation computes, and what it loads into workgroup memory:
 * four rows of one operand, four dims of each. Expects `key_head` (of the part) and `first_row` (of the key head's
 * rows).
 */
export const productPlaces: string = `
  // Invocations that run together: four rows of eight, so that they share what they read of both tiles.
  let tx = t % 8u + t / 32u % 2u * 8u;
  let ty = t / 8u % 4u + t / 64u * 4u;
  let stage_c = t % 4u;
  let stage_r = t / 4u % 32u;
  let stage_place = stage_r ^ (2u * stage_c);
  ${range(4)
    .map((j) => `let query_row_${j} = query_row(key_head, first_row + 4u * stage_r + ${j}u);`)
    .join('\n  ')}
  ${range(4)
    .map((j) => `var key_row_${j} = 0u;`)
    .join(' ')}
  var fetched: mat4x4f;`;

/**
 * Whether all of the workgroup's invocations load keys; otherwise the first half does, and the second half loads
 * queries.
 */
const isNarrow = ({ rows }: ProductShape): boolean => rows === 64;

/** Statements that load the invocation's next elements: dims from 16 slice on, of the current rows. */
function fetch(shape: ProductShape, slice: string): string {
  const { suffix = '' } = shape;
  const rows = (name: string): string =>
    range(4)
      .map((j) => `load_${name}${suffix}(${name}_row_${j}, 4u * (${slice}) + stage_c)`)
      .join(', ');
  const keys = `fetched = mat4x4f(${rows('key')});`;
  return isNarrow(shape) ? keys : `if (t < 128u) { ${keys} } else { fetched = mat4x4f(${rows('query')}); }`;
}

/** Statements before the first tile. `keyRows` sets key_row_0 .. key_row_3 to the keys 4 stage_r .. of that tile. */
export function productStart(shape: ProductShape, keyRows: string): string {
  return `${keyRows}
  ${fetch(shape, '0u')}`;
}

/**
 * Statements that leave the dot products of the tile in `dots_*`. `nextKeyRows` sets key_row_0 .. key_row_3 for the
 * next tile, whose first dims are loaded while the last of this one are processed; it is one of the product `next`.
 */
export function tileProducts(shape: ProductShape, nextKeyRows: string, next: ProductShape = shape): string {
  const { suffix = '' } = shape;
  const slices = Math.ceil(shape.headDim / SLICE);
  const step = (dim: number): string => {
    const within = `${STEPS}u * turn + ${dim}u`;
    const row = '(ty ^ (2u * turn))';
    const key = '(tx ^ (2u * turn))';
    return `{
      let a0 = query_tile[${within}][${row}];
      let a1 = query_tile[${within}][${shape.rows / 8}u + ${row}];
      let b0 = key_tile[${within}][${key}];
      let b1 = key_tile[${within}][16u + ${key}];
      ${scoreRows
        .map((i) => {
          const a = `vec4f(a${Math.floor(i / 4)}.${'xyzw'[i % 4]})`;
          return `dots_${i}_0 = fma(${a}, b0, dots_${i}_0); dots_${i}_1 = fma(${a}, b1, dots_${i}_1);`;
        })
        .join('\n      ')}
    }`;
  };
  const steps = range(STEPS).map(step).join('\n      ');
  const put = (name: string): string =>
    range(4)
      .map((j) => `${name}_tile[4u * stage_c + ${j}u][stage_place] = turned[${j}];`)
      .join(' ');
  const queriesToo = `if (t < 64u) {
        let turned = transpose(mat4x4f(${range(4)
          .map((j) => `load_query${suffix}(query_row_${j}, 4u * slice + stage_c)`)
          .join(', ')}));
        ${put('query')}
      }`;
  const putAll = isNarrow(shape)
    ? `${put('key')}\n      ${queriesToo}`
    : `if (t < 128u) { ${put('key')} } else { ${put('query')} }`;
  return `
    ${scoreRows.map((i) => `var dots_${i}_0 = vec4f(); var dots_${i}_1 = vec4f();`).join('\n    ')}
    for (var slice = 0u; slice < ${slices}u; slice++) {
      let turned = transpose(fetched);
      workgroupBarrier();
      ${putAll}
      workgroupBarrier();
      if (slice + 1u < ${slices}u) {
        ${fetch(shape, 'slice + 1u')}
      } else {
        ${nextKeyRows}
        ${fetch(next, '0u')}
      }
      for (var turn = 0u; turn < ${SLICE / STEPS}u; turn++) {
      ${steps}
      }
    }`;
}
