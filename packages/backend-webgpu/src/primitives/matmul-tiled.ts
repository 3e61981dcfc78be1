import type { Stream } from '../runtime/stream.js';
import { defineKernel, readFrom, writeTo } from '../wgsl/define-kernel.js';
import { halfOf } from '../wgsl/numbers.js';
import { range, times } from '../wgsl/text.js';
import { divide, tilesOf } from './matmul-cost.js';
import {
  biasInFours,
  type EpilogueParts,
  epilogueBuffers,
  epilogueKey,
  epilogueParts,
  epilogueSpans,
  NO_EPILOGUE,
} from './matmul-epilogue.js';
import { inFours, inputType, type Loader, loader, outputType, writer } from './matmul-operands.js';
import { recordInParts } from './matmul-parts.js';
import { type Product, productUniforms, uniformsOf } from './matmul-product.js';
import { invocationsOf, type MatmulTile, tileStart } from './matmul-tile.js';

/** What a shader depends on. `vec*`: four neighbours of the operand can be read (written) at once. */
interface TiledParameters {
  readonly tile: MatmulTile;
  readonly half: boolean;
  readonly halfOut: boolean;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  readonly vecA: boolean;
  readonly vecB: boolean;
  readonly vecOut: boolean;
  readonly adds: boolean;
  /** No tile reaches beyond an edge, and both operands are read four at a time. */
  readonly whole: boolean;
  /** See `Product.safeFactor`. */
  readonly safe: boolean;
  readonly epilogue: EpilogueParts;
}

/**
 * Register-tiled product. Each operand tile goes through workgroup memory once, stored by terms; elements beyond the
 * edges count as 0 and are not written. Reads a columns / tile.columns times and b rows / tile.rows times; workgroup
 * memory 4 * depth * (rows + columns) bytes.
 */
function kernelOf(parameters: TiledParameters) {
  const { tile, half, halfOut, transposeA, transposeB, vecA, vecB, vecOut, adds, whole, safe, epilogue } =
    parameters;
  const name = `${tile.rows}x${tile.columns}x${tile.depth}/${tile.microRows}x${tile.microColumns}${whole ? ' whole' : ''}`;
  const flags = `${transposeA ? ' aT' : ''}${transposeB ? ' bT' : ''}${vecA ? ' va' : ''}${vecB ? ' vb' : ''}${vecOut ? ' vo' : ''}${safe ? ' safe' : ''}${adds ? ' adds' : ''}${epilogueKey(epilogue)}`;
  return defineKernel({
    key: `matmul tiled ${name} ${half ? 'f16' : 'f32'}${halfOut ? ' to f16' : ''}${flags}`,
    uniforms: productUniforms,
    buffers: {
      a: readFrom(inputType(half, vecA)),
      b: readFrom(inputType(half, vecB)),
      out: writeTo(outputType(halfOut, vecOut)),
      ...epilogueBuffers(epilogue, vecOut, halfOut),
    },
    workgroup: invocationsOf(tile),
    source: () => sourceOf(parameters),
  });
}

function sourceOf(parameters: TiledParameters): string {
  const { tile, half, halfOut, transposeA, transposeB, vecA, vecB, vecOut, adds, whole, safe, epilogue } =
    parameters;
  const a: Side = { name: 'a', tile, half, extent: tile.rows, along: transposeA, vec: vecA };
  const b: Side = { name: 'b', tile, half, extent: tile.columns, along: !transposeB, vec: vecB, safe };
  return `var<workgroup> a_tile: array<vec4f, ${(tile.depth * tile.rows) / 4}>;
var<workgroup> b_tile: array<vec4f, ${(tile.depth * tile.columns) / 4}>;
${halfOut ? halfOf : ''}
${loader(a)}
${loader(b)}
${writer(halfOut, vecOut, adds, epilogue)}

${tileStart(tile)}
  ${place(tile)}
  ${declareSums(tile)}
  ${declareFetched(tile)}
  ${whole ? declareWhole(a, b) : ''}
  ${allTerms(a, b, whole)}
  let out_start = params.out_base + (part * params.batch + matrix) * params.out_batch;
  ${storeSums(tile)}
}`;
}

/** One operand's tile: `extent` rows of a or columns of b. */
interface Side extends Loader {
  readonly tile: MatmulTile;
  readonly extent: number;
}

/** Arranges invocations in blocks of 8 x 4, so that those that run together share what they read of both tiles. */
function place({ columns, microColumns }: MatmulTile): string {
  const across = columns / microColumns / 8;
  return `let across = local % 8u + local / 32u % ${across}u * 8u;
  let down = local / 8u % 4u + local / ${32 * across}u * 4u;`;
}

const sumNames = ({ microRows, microColumns }: MatmulTile): string[][] =>
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
        ? `f${u}_${i} = fetch_${side.name}(${side.name}_start, ${from} + 4u * quad + ${i}u, ${origin} + 4u * group);`
        : `f${u}_${i} = fetch_${side.name}(${side.name}_start, ${origin} + 4u * group + ${i}u, ${from} + 4u * quad);`,
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
    const n = side.name;
    const origin = n === 'a' ? 'tile_row' : 'tile_column';
    const at = side.along
      ? `(first + 4u * quad) * params.${n}_stride + ${origin} + 4u * group`
      : `(${origin} + 4u * group) * params.${n}_stride + first + 4u * quad`;
    return `${blockPlace(side, block)} at_${u} = (${n}_start + ${at}) / 4u; line_${u} = params.${n}_stride / 4u; step_${u} = ${side.along ? `${side.tile.depth / 4}u * params.${n}_stride` : `${side.tile.depth / 4}u`};`;
  });
  return `${names.join(' ')}
  ${starts}`;
}

function fetchWhole(a: Side, b: Side): string {
  return forBlocks(a, b, (side, _block, u) => {
    const lines = range(4).map((i) => {
      const found = `${side.name}[at_${u} + ${i}u * line_${u}]`;
      return side.half
        ? `{ let found = ${found}; f${u}_${i} = vec4f(unpack2x16float(found.x), unpack2x16float(found.y)); }`
        : `f${u}_${i} = ${side.safe ? `safe_b(${found})` : found};`;
    });
    return `${lines.join(' ')} at_${u} += step_${u};`;
  });
}

function allTerms(a: Side, b: Side, whole: boolean): string {
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
  ${multiply(a, b)}
  }`;
}

function storeSums(tile: MatmulTile): string {
  return sumNames(tile)
    .flatMap((row, i) =>
      row.map((sum, c) => {
        const down = `tile_row + ${(i >> 2) * ((4 * tile.rows) / tile.microRows)}u + 4u * down + ${i % 4}u`;
        const across = `tile_column + ${c * ((4 * tile.columns) / tile.microColumns)}u + 4u * across`;
        return `put(out_start, ${down}, ${across}, ${sum});`;
      }),
    )
    .join('\n  ');
}

/**
 * Records the product. Where tiles are few and sums long, parts of the sums are computed separately and added in
 * order. `out` of f16 must have been cleared.
 */
export function launchTiled(stream: Stream, product: Product, tile: MatmulTile): void {
  const { rows, inner, columns, transposeA, transposeB, a, b } = product;
  const tiles = tilesOf(tile, product);
  const half = product.dtype === 'f16';
  const vecA = inFours(a, transposeA ? rows : inner);
  const vecB = inFours(b, transposeB ? inner : columns);
  const isWhole =
    vecA && vecB && rows % tile.rows === 0 && columns % tile.columns === 0 && inner % tile.depth === 0;
  recordInParts(stream, product, divide(tile, product).parts, tile.depth, ({ out, parts, terms }) => {
    const kernel = kernelOf({
      tile,
      half,
      halfOut: half && parts === 1,
      transposeA,
      transposeB,
      vecA,
      vecB,
      vecOut: inFours(out, columns) && biasInFours(product.epilogue),
      adds: parts === 1 && (product.adds ?? false),
      whole: isWhole,
      safe: product.safeFactor !== undefined,
      epilogue: parts === 1 ? epilogueParts(product.epilogue) : NO_EPILOGUE,
    });
    kernel.launch(stream, {
      uniforms: uniformsOf({ ...product, out }, terms),
      buffers: { a, b, out, ...epilogueSpans(product.epilogue, parts === 1) },
      workgroups: tiles * parts,
    });
  });
}
