/**
 * Tile products of queries and keys, f32 in registers: the common part of every kernel that makes scores.
 *
 * A workgroup of 128 takes 64 rows and 128 keys at a time; an invocation has 8 rows x 8 keys: rows
 * 4 ty .. 4 ty + 3 and 32 more, keys 4 tx .. 4 tx + 3 and 64 more. Sixteen dims at a time pass through workgroup memory,
 * transposed, so that both operands of a step are whole vectors. Every product of a query and a key is the same chain
 * of fused multiply-adds over ascending dims, wherever in a tile it stands: equal rows have equal bits in every kernel.
 */
export const TILE_ROWS = 64;
export const TILE_KEYS = 128;
export const TILE_INVOCATIONS = 128;
const SLICE = 16;

export interface ProductShape {
  readonly headDim: number;
  readonly dtype: 'f32' | 'f16';
  /** The rows of queries stay in workgroup memory for all tiles of keys: 256 bytes per dim. */
  readonly resident: boolean;
  /** Steps written out one after the other, 4 or 16: fewer compile faster, more run faster. */
  readonly steps: number;
}

/** Steps for a device: in software the compiler takes longer than the work. */
export function stepsFor({ isSoftware }: { readonly isSoftware: boolean }): number {
  return isSoftware ? 4 : SLICE;
}

/** Workgroup memory of the products alone. */
export function productBytes({ headDim, resident }: Pick<ProductShape, 'headDim' | 'resident'>): number {
  const dims = resident ? SLICE * Math.ceil(headDim / SLICE) : SLICE;
  return 4 * (dims * TILE_ROWS + SLICE * TILE_KEYS);
}

type Operand = Pick<ProductShape, 'headDim' | 'dtype'>;

const isVectorised = ({ headDim }: Operand): boolean => headDim % 4 === 0;

/** Element type of the bindings of q and k. */
export function operandType(shape: Operand): string {
  if (!isVectorised(shape)) return shape.dtype === 'f32' ? 'f32' : 'u32';
  return shape.dtype === 'f32' ? 'vec4f' : 'vec2u';
}

/** `load_<name>(row, quad)`: dims 4 quad .. 4 quad + 3 of a row, zeros beyond the last. */
export function loadQuad(name: string, buffer: string, base: string, shape: Operand): string {
  const { headDim, dtype } = shape;
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
  const element =
    dtype === 'f32' ? `${buffer}[at]` : `unpack2x16float(${buffer}[at / 2u])[at % 2u]`;
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

const range = (count: number): readonly number[] => Array.from({ length: count }, (_, at) => at);

/** Names of an invocation's scores: `dots_<row>_<half>` is a vec4f of 4 keys, rows 0 to 7, halves 0 and 1. */
export const scoreRows: readonly number[] = range(8);

/** Row of the tile that score row i stands for. */
export function tileRow(i: number): string {
  return `(4u * ty + ${(i % 4) + 32 * Math.floor(i / 4)}u)`;
}

/** Workgroup memory and functions. `q` and `k` are declared by the kernel with `operandType`. */
export function productDeclarations(shape: ProductShape): string {
  const { headDim, resident } = shape;
  const dims = resident ? SLICE * Math.ceil(headDim / SLICE) : SLICE;
  return `
${loadQuad('load_query', 'q', 'geometry.q_base', shape)}
${loadQuad('load_key', 'k', 'geometry.k_base', shape)}

// [dim][row / 4] and [dim][key / 4]; quads are swapped by dim so that neither writing nor reading meets in one bank.
var<workgroup> query_tile: array<array<vec4f, ${TILE_ROWS / 4}>, ${dims}>;
var<workgroup> key_tile: array<array<vec4f, ${TILE_KEYS / 4}>, ${SLICE}>;

/** The row of q that row \`row\` of a key head's rows is: all queries of one head of its group, then of the next. */
fn query_row(key_head: u32, row: u32) -> u32 {
  let last = geometry.group * geometry.queries - 1u;
  let at = min(row, last);
  return (key_head * geometry.group + at / geometry.queries) * geometry.query_length + at % geometry.queries;
}

fn stage_queries(t: u32, key_head: u32, first_row: u32, first_quad: u32, first_dim: u32) {
  let c = t % 4u;
  let r = t / 4u;
  let row = first_row + 4u * r;
  let m = transpose(mat4x4f(
    load_query(query_row(key_head, row), first_quad + c),
    load_query(query_row(key_head, row + 1u), first_quad + c),
    load_query(query_row(key_head, row + 2u), first_quad + c),
    load_query(query_row(key_head, row + 3u), first_quad + c),
  ));
  let place = r ^ (2u * c);
  ${range(4)
    .map((j) => `query_tile[first_dim + 4u * c + ${j}u][place] = m[${j}];`)
    .join('\n  ')}
}`;
}

/** Statements at the start of `main`: which scores the invocation makes. */
export const productPlaces: string = `
  let tx = t % 16u;
  let ty = t / 16u;
  ${range(4)
    .map((c) => `let row_place_${c} = ty ^ ${2 * c}u;\n  let key_place_${c} = tx ^ ${2 * c}u;`)
    .join('\n  ')}
  let stage_c = t % 4u;
  let stage_r = t / 4u;
  let stage_place = stage_r ^ (2u * stage_c);`;

/** Statements that put all dims of the rows into workgroup memory, when they are resident. */
export function stageResident({ headDim, resident }: ProductShape): string {
  if (!resident) return '';
  return `
  for (var d = 0u; d < ${Math.ceil(headDim / SLICE)}u; d += 2u) {
    let half = t / 64u;
    if (d + half < ${Math.ceil(headDim / SLICE)}u) {
      stage_queries(t % 64u, key_head, first_row, 4u * (d + half), ${SLICE}u * (d + half));
    }
  }`;
}

/**
 * Statements that leave the dot products of the tile in \`dots_*\`. Expects \`key_head\` (of the part), \`first_row\` (of
 * the key head's rows) and \`key_row_0\` .. \`key_row_3\`: the rows of k that the invocation stages, keys
 * 4 stage_r .. 4 stage_r + 3 of the tile.
 */
export function tileProducts(shape: ProductShape): string {
  const slices = Math.ceil(shape.headDim / SLICE);
  const isLoop = shape.steps < SLICE;
  const step = (dim: number): string => {
    // In a loop over c, four dims each, or with c as a constant.
    const c = isLoop ? 'c' : String(Math.floor(dim / 4));
    const within = isLoop ? `4u * c + ${dim}u` : `${dim}u`;
    const queryDim = shape.resident ? `${SLICE}u * slice + ${within}` : within;
    return `{
      let a0 = query_tile[${queryDim}][${isLoop ? 'ty ^ (2u * c)' : `row_place_${c}`}];
      let a1 = query_tile[${queryDim}][8u + (${isLoop ? 'ty ^ (2u * c)' : `row_place_${c}`})];
      let b0 = key_tile[${within}][${isLoop ? 'tx ^ (2u * c)' : `key_place_${c}`}];
      let b1 = key_tile[${within}][16u + (${isLoop ? 'tx ^ (2u * c)' : `key_place_${c}`})];
      ${scoreRows
        .map((i) => {
          const a = `vec4f(a${Math.floor(i / 4)}.${'xyzw'[i % 4]})`;
          return `dots_${i}_0 = fma(${a}, b0, dots_${i}_0); dots_${i}_1 = fma(${a}, b1, dots_${i}_1);`;
        })
        .join('\n      ')}
    }`;
  };
  const steps = range(isLoop ? 4 : SLICE).map(step).join('\n      ');
  return `
    ${scoreRows.map((i) => `var dots_${i}_0 = vec4f(); var dots_${i}_1 = vec4f();`).join('\n    ')}
    for (var slice = 0u; slice < ${slices}u; slice++) {
      let quad = 4u * slice + stage_c;
      let m = transpose(mat4x4f(
        load_key(key_row_0, quad), load_key(key_row_1, quad), load_key(key_row_2, quad), load_key(key_row_3, quad),
      ));
      workgroupBarrier();
      ${range(4)
        .map((j) => `key_tile[4u * stage_c + ${j}u][stage_place] = m[${j}];`)
        .join('\n      ')}
      ${shape.resident ? '' : `if (t < 64u) { stage_queries(t, key_head, first_row, 4u * slice, 0u); }`}
      workgroupBarrier();
      ${isLoop ? `for (var c = 0u; c < 4u; c++) {
      ${steps}
      }` : steps}
    }`;
}
