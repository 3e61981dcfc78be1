import type { Binding } from '../runtime/binding.js';
import type { Stream } from '../runtime/stream.js';
import { kernelFamily, optional, readFrom, writeTo } from '../wgsl/define-kernel.js';
import { times } from '../wgsl/text.js';

/**
 * out [M, N] = a [M, K] x b [K, N], optionally plus a bias [N] or added to what out holds; f32.
 *
 * A workgroup computes a tile of out, an invocation a small part of it in registers. Slices of the inner extent go
 * through workgroup memory (at most 16 KiB); the next slice is fetched into registers meanwhile. Where the inner
 * extent is the contiguous one, blocks of 4 x 4 are transposed in registers, so that workgroup memory is written and
 * read in whole vectors. Tiles that share columns of b run next to each other. Sums run in ascending order of the
 * inner index.
 */
export interface ProductShape {
  readonly rows: number;
  readonly columns: number;
  readonly inner: number;
}

interface ProductOptions {
  /** a is stored [K, M]. */
  readonly transposeA?: boolean;
  /** b is stored [N, K]. */
  readonly transposeB?: boolean;
  /** [N] */
  readonly bias?: Binding | undefined;
  /** True to add to what out holds. */
  readonly accumulate?: boolean;
  /** True to read NaN and infinities in b as zero. */
  readonly finiteB?: boolean;
}

/** How a tile is divided. Rows and columns per invocation are multiples of 4, as is the slice. */
interface Tile {
  /** Invocations along the columns and along the rows of a tile. */
  readonly across: number;
  readonly down: number;
  /** Rows and columns of out per invocation. */
  readonly rows: number;
  readonly columns: number;
  /** Inner extent of a slice. */
  readonly slice: number;
}

type TileName = 'small' | 'large';

const tiles: Readonly<Record<TileName, Tile>> = {
  small: { across: 8, down: 8, rows: 4, columns: 4, slice: 8 },
  large: { across: 16, down: 16, rows: 8, columns: 8, slice: 16 },
};

/** With few rows or columns, most of a large tile is empty. */
const SMALL_EXTENT = 64;

interface ProductParameters {
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  /** Rows of the stored operand are whole vectors. */
  readonly vectorA: boolean;
  readonly vectorB: boolean;
  readonly vectorOut: boolean;
  readonly bias: boolean;
  readonly accumulate: boolean;
  readonly finiteB: boolean;
  readonly tile: TileName;
}

export function recordProduct(
  stream: Stream,
  a: Binding,
  b: Binding,
  out: Binding,
  shape: ProductShape,
  options: ProductOptions = {},
): void {
  const { rows, columns, inner } = shape;
  const { transposeA = false, transposeB = false, bias, accumulate = false, finiteB = false } = options;
  const tile = rows < SMALL_EXTENT || columns < SMALL_EXTENT ? 'small' : 'large';
  const isWhole = (extent: number, { base }: Binding): boolean => extent % 4 === 0 && base % 4 === 0;
  const kernel = productKernel({
    transposeA,
    transposeB,
    vectorA: isWhole(transposeA ? rows : inner, a),
    vectorB: isWhole(transposeB ? inner : columns, b),
    vectorOut: isWhole(columns, out),
    bias: bias !== undefined,
    accumulate,
    finiteB,
    tile,
  });
  const { down, across, ...own } = tiles[tile];
  const rowTiles = Math.ceil(rows / (down * own.rows));
  const count = rowTiles * Math.ceil(columns / (across * own.columns));
  kernel.launch(stream, {
    uniforms: { rows, columns, inner, row_tiles: rowTiles, tiles: count },
    buffers: { a, b, bias, out },
    workgroups: count,
  });
}

const productKernel = kernelFamily('feed-forward product', (parameters: ProductParameters) => {
  const { across, down } = tiles[parameters.tile];
  const element = (isVector: boolean): string => (isVector ? 'vec4f' : 'f32');
  return {
    uniforms: { rows: 'u32', columns: 'u32', inner: 'u32', row_tiles: 'u32', tiles: 'u32' },
    buffers: {
      a: readFrom(element(parameters.vectorA)),
      b: readFrom(element(parameters.vectorB)),
      bias: optional(parameters.bias, readFrom('f32')),
      out: writeTo(element(parameters.vectorOut)),
    },
    workgroup: across * down,
    source: () => productText(parameters),
  };
});

/** A tile with the sizes derived from it. */
interface Layout extends Tile {
  /** Vectors per row of each slice. */
  readonly aVectors: number;
  readonly bVectors: number;
  /** Blocks of 4 x 4 along the inner extent, and in total. */
  readonly along: number;
  readonly aBlocks: number;
  readonly bBlocks: number;
}

function layoutOf(name: TileName): Layout {
  const tile = tiles[name];
  const aVectors = (tile.down * tile.rows) / 4;
  const bVectors = (tile.across * tile.columns) / 4;
  const along = tile.slice / 4;
  return { ...tile, aVectors, bVectors, along, aBlocks: aVectors * along, bBlocks: bVectors * along };
}

function productText(parameters: ProductParameters): string {
  const { transposeA, transposeB } = parameters;
  const layout = layoutOf(parameters.tile);
  const { across, down, rows, columns, slice, aVectors, bVectors, aBlocks, bBlocks } = layout;
  return `var<workgroup> a_slice: array<vec4f, ${slice * aVectors}>;
var<workgroup> b_slice: array<vec4f, ${slice * bVectors}>;
${loadText('a', parameters.vectorA, false)}
${loadText('b', parameters.vectorB, parameters.finiteB)}
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32) {
  let tile = group.x + group.y * groups.x;
  if (tile >= params.tiles) { return; }
  let row0 = (tile % params.row_tiles) * ${down * rows}u;
  let column0 = (tile / params.row_tiles) * ${across * columns}u;
  let rows = t / ${across}u;
  let columns = t % ${across}u;
  ${times(rows, (i) => times(columns / 4, (j) => `var sum${i}_${j} = vec4f();`, ' '), '\n  ')}
  var p0 = vec4f(); var p1 = vec4f(); var p2 = vec4f(); var p3 = vec4f();
  ${fetchText('0u', parameters, layout)}
  for (var k0 = 0u; k0 < params.inner; k0 += ${slice}u) {
    if (t < ${aBlocks}u) {
      ${storeText('a_slice', 't', transposeA, aVectors, layout)}
    } else if (t < ${aBlocks + bBlocks}u) {
      ${storeText('b_slice', `(t - ${aBlocks}u)`, !transposeB, bVectors, layout)}
    }
    workgroupBarrier();
    if (k0 + ${slice}u < params.inner) {
      ${fetchText(`(k0 + ${slice}u)`, parameters, layout)}
    }
    ${times(slice, (k) => multiplyText(k, layout))}
    workgroupBarrier();
  }
  ${times(rows, (i) => storeRowText(i, layout, parameters), '\n  ')}
}`;
}

/** load_a(row, column, rows, columns): four neighbours in a row of the stored matrix, zeros outside it. */
function loadText(name: 'a' | 'b', isVector: boolean, isFinite: boolean): string {
  const clean = isFinite
    ? `fn finite_${name}(x: vec4f) -> vec4f {
  return select(x, vec4f(), (bitcast<vec4u>(x) & vec4u(0x7f800000u)) == vec4u(0x7f800000u));
}`
    : '';
  const wrap = (value: string): string => (isFinite ? `finite_${name}(${value})` : value);
  if (isVector) {
    return `${clean}
fn load_${name}(row: u32, column: u32, rows: u32, columns: u32) -> vec4f {
  if (row >= rows || column >= columns) { return vec4f(); }
  return ${wrap(`${name}[(params.${name}_base + row * columns + column) / 4u]`)};
}`;
  }
  return `${clean}
fn load_${name}(row: u32, column: u32, rows: u32, columns: u32) -> vec4f {
  var x = vec4f();
  if (row >= rows) { return x; }
  let at = params.${name}_base + row * columns + column;
  ${times(4, (c) => `if (column + ${c}u < columns) { x[${c}] = ${name}[at + ${c}u]; }`, '\n  ')}
  return ${wrap('x')};
}`;
}

/** Position of an invocation's block: neighbours run along the contiguous extent of the stored matrix. */
function blockText(index: string, isAcross: boolean, vectors: number, { along }: Layout): string {
  return isAcross
    ? `let across = ${index} % ${vectors}u; let along = ${index} / ${vectors}u;`
    : `let along = ${index} % ${along}u; let across = ${index} / ${along}u;`;
}

function fetchText(k0: string, { transposeA, transposeB }: ProductParameters, layout: Layout): string {
  const { aBlocks, bBlocks, aVectors, bVectors } = layout;
  const block = (name: 'a' | 'b', index: string, isAcross: boolean, vectors: number): string => {
    const [origin, extent] = name === 'a' ? ['row0', 'params.rows'] : ['column0', 'params.columns'];
    const outer = `${origin} + 4u * across`;
    const inner = `${k0} + 4u * along`;
    const load = (i: number): string =>
      isAcross
        ? `p${i} = load_${name}(${inner} + ${i}u, ${outer}, params.inner, ${extent});`
        : `p${i} = load_${name}(${outer} + ${i}u, ${inner}, ${extent}, params.inner);`;
    return `${blockText(index, isAcross, vectors, layout)}
      ${times(4, load, '\n      ')}`;
  };
  return `if (t < ${aBlocks}u) {
      ${block('a', 't', transposeA, aVectors)}
    } else if (t < ${aBlocks + bBlocks}u) {
      ${block('b', `(t - ${aBlocks}u)`, !transposeB, bVectors)}
    }`;
}

function storeText(slice: string, index: string, isAcross: boolean, vectors: number, layout: Layout): string {
  const store = (j: number): string =>
    `${slice}[(4u * along + ${j}u) * ${vectors}u + across] = ${
      isAcross ? `p${j}` : `vec4f(p0[${j}], p1[${j}], p2[${j}], p3[${j}])`
    };`;
  return `${blockText(index, isAcross, vectors, layout)}
      ${times(4, store, '\n      ')}`;
}

function multiplyText(k: number, { rows, columns, across, down, aVectors, bVectors }: Layout): string {
  const quads = columns / 4;
  const add = (i: number, j: number): string =>
    `sum${i}_${j} = fma(vec4f(x${i >> 2}[${i & 3}]), y${j}, sum${i}_${j});`;
  return `{
      ${times(rows / 4, (i) => `let x${i} = a_slice[${k * aVectors + down * i}u + rows];`, ' ')}
      ${times(quads, (j) => `let y${j} = b_slice[${k * bVectors + across * j}u + columns];`, ' ')}
      ${times(rows, (i) => times(quads, (j) => add(i, j), ' '), '\n      ')}
    }`;
}

function storeRowText(i: number, layout: Layout, parameters: ProductParameters): string {
  const { across, down, columns } = layout;
  const { vectorOut, bias, accumulate } = parameters;
  const before = accumulate ? 'out[at] + ' : '';
  const cell = (j: number): string => {
    const first = `let column = column0 + ${4 * across * j}u + 4u * columns;`;
    if (vectorOut) {
      const four = times(4, (c) => `bias[params.bias_base + column + ${c}u]`, ', ');
      return `{ ${first}
      if (column < params.columns) { let at = (params.out_base + row * params.columns + column) / 4u; out[at] = ${before}sum${i}_${j}${bias ? ` + vec4f(${four})` : ''}; } }`;
    }
    const one = (c: number): string => `if (column + ${c}u < params.columns) {
        let at = params.out_base + row * params.columns + column + ${c}u;
        out[at] = ${before}sum${i}_${j}[${c}]${bias ? ` + bias[params.bias_base + column + ${c}u]` : ''};
      }`;
    return `{ ${first}
      ${times(4, one, '\n      ')} }`;
  };
  return `{ let row = row0 + ${4 * down * (i >> 2) + (i & 3)}u + 4u * rows;
    if (row < params.rows) {
      ${times(columns / 4, cell, '\n      ')}
    } }`;
}
