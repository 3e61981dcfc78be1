import { range, times } from '../wgsl/text.js';
import { addTile, joinSums, type Summed } from './matmul-operand-sums.js';
import { type Loader, loader, type ProductForm, writer } from './matmul-operands.js';
import { invocationsOf, type MatmulTile } from './matmul-tile.js';

/** What a kernel with several products calls the parts of one of them. */
export interface TiledNames {
  /** Ends the names of its functions and uniforms: `params.rows<of>`. */
  readonly of: string;
  /** Its buffers. */
  readonly a: string;
  readonly b: string;
  readonly out: string;
}

const ONLY: TiledNames = { of: '', a: 'a', b: 'b', out: 'out' };

/** What a shader depends on. */
export interface TiledParameters extends ProductForm {
  readonly tile: MatmulTile;
  /** No tile reaches beyond an edge, and both operands are read four at a time. */
  readonly whole: boolean;
  /** See `Product.sums`. Default: none. */
  readonly sums?: Summed | undefined;
  /** With `vecA`, `vecB` and `vecOut`, without an epilogue. Default: those of a kernel's only product. */
  readonly names?: TiledNames;
}

/** Workgroup memory of a tile's operands, which products of a kernel share: 4 * depth * (rows + columns) bytes. */
export function tileMemory({ rows, columns, depth }: MatmulTile): string {
  return `var<workgroup> a_tile: array<vec4f, ${(depth * rows) / 4}>;
var<workgroup> b_tile: array<vec4f, ${(depth * columns) / 4}>;`;
}

/** Functions that a product reads and writes with. */
export function tiledFunctions(parameters: TiledParameters): string {
  const { halfOut, vecOut, adds, epilogue, names = ONLY } = parameters;
  const [a, b] = sidesOf(parameters);
  return `${loader(a)}
${loader(b)}
${writer(halfOut, vecOut, adds, epilogue, { of: names.of, array: names.out })}`;
}

/**
 * Sums of the terms from `first` to `end` of the tile at `tile_row` and `tile_column`, of operands that begin at `a_start`
 * and `b_start`; `local` is the invocation.
 */
export function tiledSums(parameters: TiledParameters): string {
  const { tile, whole, sums } = parameters;
  const [a, b] = sidesOf(parameters);
  return `${place(tile)}
  ${declareSums(tile)}${sums === undefined ? '' : '\n  var operand_sums: vec4f;'}
  ${declareFetched(tile)}
  ${whole ? declareWhole(a, b) : ''}
  ${allTerms(a, b, whole, sums)}`;
}

function sidesOf({
  tile,
  half,
  transposeA,
  transposeB,
  vecA,
  vecB,
  safe,
  names = ONLY,
}: TiledParameters): readonly [a: Side, b: Side] {
  const { of } = names;
  return [
    { name: 'a', array: names.a, of, tile, half, extent: tile.rows, along: transposeA, vec: vecA },
    { name: 'b', array: names.b, of, tile, half, extent: tile.columns, along: !transposeB, vec: vecB, safe },
  ];
}

/** One operand's tile: `extent` rows of a or columns of b. */
interface Side extends Loader {
  readonly array: string;
  readonly of: string;
  readonly tile: MatmulTile;
  readonly extent: number;
}

/** Arranges invocations in blocks of 8 x 4, so that those that run together share what they read of both tiles. */
function place({ columns, microColumns }: MatmulTile): string {
  const across = columns / microColumns / 8;
  return `let across = local % 8u + local / 32u % ${across}u * 8u;
  let down = local / 8u % 4u + local / ${32 * across}u * 4u;`;
}

/** Names of the sums of an invocation, by row: four columns each. */
export const sumNames = ({ microRows, microColumns }: MatmulTile): string[][] =>
  range(microRows).map((i) => range(microColumns / 4).map((c) => `sum_${i}_${c}`));

function declareSums(tile: MatmulTile): string {
  return sumNames(tile)
    .map((row) => row.map((name) => `var ${name}: vec4f;`).join(' '))
    .join('\n  ');
}

/** Blocks of 4 x 4 that an invocation fetches at a time. */
function blocksEach(tile: MatmulTile): number {
  return Math.ceil(((tile.rows + tile.columns) * tile.depth) / 16 / invocationsOf(tile));
}

function declareFetched(tile: MatmulTile): string {
  return range(blocksEach(tile))
    .map((u) => `var f${u}_0: vec4f; var f${u}_1: vec4f; var f${u}_2: vec4f; var f${u}_3: vec4f;`)
    .join('\n  ');
}

/** Code for each block of 4 x 4 that the invocation shares in, in whichever operand it lies. */
function forBlocks(a: Side, b: Side, code: (side: Side, block: string, u: number) => string): string {
  const invocations = invocationsOf(a.tile);
  const blocksA = (a.extent * a.tile.depth) / 16;
  const total = blocksA + (b.extent * b.tile.depth) / 16;
  return range(blocksEach(a.tile))
    .map((u) => {
      const first = u * invocations;
      const inA = code(a, `(local + ${first}u)`, u);
      const inB = code(
        b,
        first >= blocksA ? `(local + ${first - blocksA}u)` : `(local - ${blocksA - first}u)`,
        u,
      );
      if (first + invocations <= blocksA) return `{ ${inA} }`;
      const guardedB =
        first + invocations <= total ? `{ ${inB} }` : `if (local < ${total - first}u) { ${inB} }`;
      if (first >= blocksA) return guardedB;
      return `if (local < ${blocksA - first}u) { ${inA} } else ${guardedB}`;
    })
    .join('\n  ');
}

/** Where in the tile a block lies: `group` of four rows (columns), `quad` of four terms. */
function blockPlace({ extent, tile, along }: Side, block: string): string {
  return along
    ? `let group = ${block} % ${extent / 4}u; let quad = ${block} / ${extent / 4}u;`
    : `let quad = ${block} % ${tile.depth / 4}u; let group = ${block} / ${tile.depth / 4}u;`;
}

/**
 * A column of the tile, in vectors. Neighbouring invocations store different quads of terms; turned like this, they use
 * different banks. By a remainder and not by xor: a compiler sees that it stays inside the array, and need not clamp it.
 */
function turned(column: string, { extent, tile, along }: Side): string {
  return along ? `(${column})` : `(${column} + quad * ${Math.max(1, 32 / tile.depth)}u) % ${extent / 4}u`;
}

function fetchInside(a: Side, b: Side, from: string): string {
  return forBlocks(a, b, (side, block, u) => {
    const origin = side.name === 'a' ? 'tile_row' : 'tile_column';
    const lines = range(4).map((i) =>
      side.along
        ? `f${u}_${i} = fetch_${side.name}${side.of}(${side.name}_start, ${from} + 4u * quad + ${i}u, ${origin} + 4u * group);`
        : `f${u}_${i} = fetch_${side.name}${side.of}(${side.name}_start, ${origin} + 4u * group + ${i}u, ${from} + 4u * quad);`,
    );
    return `${blockPlace(side, block)} ${lines.join(' ')}`;
  });
}

function store(a: Side, b: Side): string {
  return forBlocks(a, b, (side, block, u) => {
    const column = turned('group', side);
    const lines = range(4).map((j) => {
      const axis = 'xyzw'[j];
      const value = side.along ? `f${u}_${j}` : `vec4f(${range(4).map((i) => `f${u}_${i}.${axis}`)})`;
      return `${side.name}_tile[(4u * quad + ${j}u) * ${side.extent / 4}u + ${column}] = ${value};`;
    });
    return `${blockPlace(side, block)} ${lines.join(' ')}`;
  });
}

/**
 * Multiplies all terms in workgroup memory. The sums are single variables: arrays indexed by a loop would leave the
 * registers.
 */
function multiply(a: Side, b: Side): string {
  const { tile } = a;
  const read = (side: Side, place: string, micro: number, term: number): string[] =>
    range(micro / 4).map((half) => {
      const column = turned(`${place} + ${(half * side.extent) / micro}u`, side);
      return `let ${side.name}${half} = ${side.name}_tile[quad * ${side.extent}u + ${(term * side.extent) / 4}u + ${column}];`;
    });
  const terms = range(4).map((term) => {
    const products = sumNames(tile).flatMap((row, i) =>
      row.map((sum, c) => `${sum} = fma(vec4f(a${i >> 2}.${'xyzw'[i % 4]}), b${c}, ${sum});`),
    );
    return `{
    ${[...read(a, 'down', tile.microRows, term), ...read(b, 'across', tile.microColumns, term)].join(' ')}
    ${products.join('\n    ')}
    }`;
  });
  const body = terms.join('\n    ');
  // A loop would cost a tenth of the speed.
  return times(tile.depth / 4, (quad) => `{ const quad = ${quad}u; ${body} }`, '\n  ');
}

/** For tiles within the edges: where each block begins, how far its lines are apart, and those of the next terms. */
function declareWhole(a: Side, b: Side): string {
  const names = range(blocksEach(a.tile)).map(
    (u) => `var at_${u}: u32; var line_${u}: u32; var step_${u}: u32;`,
  );
  const starts = forBlocks(a, b, (side, block, u) => {
    const origin = side.name === 'a' ? 'tile_row' : 'tile_column';
    const stride = `params.${side.name}_stride${side.of}`;
    const at = side.along
      ? `(first + 4u * quad) * ${stride} + ${origin} + 4u * group`
      : `(${origin} + 4u * group) * ${stride} + first + 4u * quad`;
    return `${blockPlace(side, block)} at_${u} = (${side.name}_start + ${at}) / 4u; line_${u} = ${stride} / 4u; step_${u} = ${side.along ? `${side.tile.depth / 4}u * ${stride}` : `${side.tile.depth / 4}u`};`;
  });
  return `${names.join(' ')}
  ${starts}`;
}

function fetchWhole(a: Side, b: Side): string {
  return forBlocks(a, b, (side, _block, u) => {
    const lines = range(4).map((i) => {
      const found = `${side.array}[at_${u} + ${i}u * line_${u}]`;
      return side.half
        ? `{ let found = ${found}; f${u}_${i} = vec4f(unpack2x16float(found.x), unpack2x16float(found.y)); }`
        : `f${u}_${i} = ${side.safe ? `safe_b${side.of}(${found})` : found};`;
    });
    return `${lines.join(' ')} at_${u} += step_${u};`;
  });
}

function allTerms(a: Side, b: Side, whole: boolean, sums: Summed | undefined): string {
  const { depth } = a.tile;
  const fetch = whole ? fetchWhole : fetchInside;
  return `${fetch(a, b, 'first')}
  for (var term = first; term < end; term += ${depth}u) {
  workgroupBarrier();
  ${store(a, b)}
  workgroupBarrier();
  if (term + ${depth}u < end) {
  ${fetch(a, b, `term + ${depth}u`)}
  }
  ${sums === undefined ? '' : `${addTile(a.tile, sums)}\n  `}${multiply(a, b)}
  }`;
}

/** Row of the tile of an invocation's row `i`, in WGSL. */
export function tileRow({ rows, microRows }: MatmulTile, i: number): string {
  return `${(i >> 2) * ((4 * rows) / microRows)}u + 4u * down + ${i % 4}u`;
}

/** Column of the tile of an invocation's four columns `c`, in WGSL. */
export function tileColumn({ columns, microColumns }: MatmulTile, c: number): string {
  return `${c * ((4 * columns) / microColumns)}u + 4u * across`;
}

/** Writes the sums of the tile to the matrix at `out_start`, and those of an operand to theirs. */
export function storeSums({ tile, sums, names = ONLY }: TiledParameters): string {
  const stored = sumNames(tile)
    .flatMap((row, i) =>
      row.map(
        (sum, c) =>
          `put${names.of}(out_start, tile_row + ${tileRow(tile, i)}, tile_column + ${tileColumn(tile, c)}, ${sum});`,
      ),
    )
    .join('\n  ');
  return sums === undefined ? stored : `${stored}\n  ${joinSums(tile, sums)}`;
}
