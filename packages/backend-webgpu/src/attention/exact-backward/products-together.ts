import { tilesOf } from '../../primitives/matmul-cost.js';
import { NO_EPILOGUE } from '../../primitives/matmul-epilogue.js';
import { type Product, productUniforms, uniformsOf } from '../../primitives/matmul-product.js';
import { hasWholeTiles, invocationsOf, type MatmulTile } from '../../primitives/matmul-tile.js';
import {
  storeSums,
  sumNames,
  type TiledNames,
  type TiledParameters,
  tileColumn,
  tiledFunctions,
  tiledSums,
  tileMemory,
  tileRow,
} from '../../primitives/matmul-tiled-text.js';
import type { Binding } from '../../runtime/binding.js';
import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { kernelFamily, optional, read, readFrom, writeTo } from '../../wgsl/define-kernel.js';
import { range } from '../../wgsl/text.js';
import type { PartGeometry } from '../shared/geometry.js';
import { HIDDEN_WEIGHT } from './row-gradients.js';

/** What the text of the kernel depends on. */
interface TogetherParameters {
  readonly tile: MatmulTile;
  /** Whether no tile reaches beyond an edge. */
  readonly whole: { readonly q: boolean; readonly k: boolean; readonly v: boolean };
  /** See `Product.safeFactor`: of the keys, and of q and dO. */
  readonly safe: { readonly keys: boolean; readonly rows: boolean };
  readonly adds: boolean;
  /** What dO is given as, if the product reads a copy. */
  readonly given: 'f32' | 'f16' | undefined;
}

/** Storage buffers that the kernel binds. */
export function buffersTogether(isCopied: boolean): number {
  return isCopied ? 10 : 9;
}

/** Each product by the gradient that it makes. */
type Products = Readonly<Record<'dQ' | 'dK' | 'dV', Product>>;

const names: Readonly<Record<'q' | 'k' | 'v', TiledNames>> = {
  q: { of: '_q', a: 'slopes', b: 'keys', out: 'd_q' },
  k: { of: '_k', a: 'slopes', b: 'queries', out: 'd_k' },
  v: { of: '_v', a: 'weights', b: 'gradient', out: 'd_v' },
};

/** Of one product, but for the end of the names. Tiles tell how many matrices there are; all terms are in one part. */
const { batch: _matrices, terms: _terms, ...ofProduct } = { tiles: 'u32', ...productUniforms } as const;

type Field = keyof typeof ofProduct;

type Ended<End extends string, Value> = { readonly [Name in Field as `${Name}${End}`]: Value };

/** The uniforms, or their values, of a product with the end of their names. */
function ending<const End extends string, Value>(
  end: End,
  fields: Readonly<Record<Field, Value>>,
): Ended<End, Value> {
  const ended = Object.entries(fields).map(([name, value]) => [`${name}${end}`, value]);
  return Object.fromEntries(ended) as Ended<End, Value>;
}

/**
 * The products of a part of the exact backward pass. A workgroup computes a tile of one of them, and the order of each sum
 * is that of a product by itself, in one part: for dQ over all keys, whose tiles take longest and come first; for dK and dV over
 * the queries. To dV it adds weight times dO for the listed queries, whose dO is not finite where the product reads 0.
 *
 * Reads and workgroup memory: as of the tiled product, `matmul-tiled`.
 */
const togetherKernel = kernelFamily('attention exact-backward products', (p: TogetherParameters) => ({
  uniforms: {
    ...ending('_q', ofProduct),
    ...ending('_k', ofProduct),
    ...ending('_v', ofProduct),
    ...{ group: 'u32', queries_of_head: 'u32', query_length: 'u32' },
  },
  buffers: {
    slopes: read('vec4f'),
    weights: read('vec4f'),
    keys: readFrom('vec4f'),
    queries: readFrom('vec4f'),
    gradient: readFrom('vec4f'),
    unusual: read('u32'),
    d_q: writeTo('vec4f'),
    d_k: writeTo('vec4f'),
    d_v: writeTo('vec4f'),
    given: optional(p.given !== undefined, readFrom(p.given === 'f16' ? 'vec2u' : 'vec4f')),
  },
  workgroup: invocationsOf(p.tile),
  source: () => source(p),
}));

function source(p: TogetherParameters): string {
  const { tile, whole, safe, adds } = p;
  const common = {
    ...{ tile, half: false, halfOut: false, transposeB: false, epilogue: NO_EPILOGUE },
    ...{ vecA: true, vecB: true, vecOut: true },
  };
  const ofKeys = { ...common, transposeA: true, adds, safe: safe.rows };
  return `${tileMemory(tile)}
${givenFour(p)}
${productText({ ...common, names: names.q, transposeA: false, adds: false, safe: safe.keys, whole: whole.q }, ' / params.group')}
${productText({ ...ofKeys, names: names.k, whole: whole.k })}
${productText({ ...ofKeys, names: names.v, whole: whole.v }, '', addUnusual(tile))}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let index = workgroup.x + workgroup.y * groups.x;
  let tiles = params.tiles_q + params.tiles_k;
  if (index < params.tiles_q) {
    product_q(index, local);
  } else if (index < tiles) {
    product_k(index - params.tiles_q, local);
  } else if (index < tiles + params.tiles_v) {
    product_v(index - tiles, local);
  }
}`;
}

/** `product_<of>(index, local)`: a tile of a product. `shares`: what turns its matrix into that of the second operand. */
function productText(
  parameters: TiledParameters & { readonly names: TiledNames },
  shares = '',
  more = '',
): string {
  const { tile } = parameters;
  const { of, b, out } = parameters.names;
  return `${tiledFunctions(parameters)}
fn product${of}(index: u32, local: u32) {
  let tiles_down = (params.rows${of} + ${tile.rows - 1}u) / ${tile.rows}u;
  let tiles_across = (params.columns${of} + ${tile.columns - 1}u) / ${tile.columns}u;
  let matrix = index / (tiles_down * tiles_across);
  let tile_row = index / tiles_across % tiles_down * ${tile.rows}u;
  let tile_column = index % tiles_across * ${tile.columns}u;
  let a_start = matrix * params.a_batch${of};
  let b_start = params.${b}_base + matrix${shares} * params.b_batch${of};
  let first = 0u;
  let end = params.inner${of};
  ${tiledSums(parameters)}
  ${more}
  let out_start = params.${out}_base + matrix * params.out_batch${of};
  ${storeSums(parameters)}
}`;
}

/** `given_four(at)`: four neighbours of dO as given. */
function givenFour({ given }: TogetherParameters): string {
  const head = 'fn given_four(at: u32) -> vec4f';
  if (given === undefined) return `${head} { return gradient[(params.gradient_base + at) / 4u]; }`;
  if (given === 'f32') return `${head} { return given[(params.given_base + at) / 4u]; }`;
  return `${head} {
  let words = given[(params.given_base + at) / 4u];
  return vec4f(unpack2x16float(words.x), unpack2x16float(words.y));
}`;
}

/** Adds weight times dO where dO is NaN or infinite, for the rows of the tile whose query sees the key. */
function addUnusual(tile: MatmulTile): string {
  const columns = range(tile.microColumns / 4);
  const fours = columns.map(
    (c) => `let at_${c} = tile_column + ${tileColumn(tile, c)};
    let four_${c} = given_four(line * params.columns_v + min(at_${c}, params.columns_v - 4u));
    let counts_${c} = (bitcast<vec4u>(four_${c}) & vec4u(0x7f800000u)) == vec4u(0x7f800000u);`,
  );
  const sums = sumNames(tile).map((row, i) => {
    const bits = `bits_${i >> 2}.${'xyzw'[i % 4]}`;
    const added = row.map(
      (sum, c) =>
        `${sum} += select(vec4f(), bitcast<f32>(${bits}) * four_${c}, counts_${c} & vec4<bool>(${bits} != ${HIDDEN_WEIGHT}));`,
    );
    return added.join(' ');
  });
  const weights = range(tile.microRows / 4).map(
    (four) =>
      `let bits_${four} = bitcast<vec4u>(weights[(row * params.a_stride_v + tile_row + ${tileRow(tile, 4 * four)}) / 4u]);`,
  );
  return `for (var place = 1u; place <= unusual[0]; place++) {
    let row = unusual[place];
    let head = row / params.queries_of_head;
    if (head / params.group != matrix) { continue; }
    let line = head * params.query_length + row % params.queries_of_head;
    ${weights.join('\n    ')}
    ${fours.join('\n    ')}
    ${sums.join('\n    ')}
  }`;
}

/**
 * Records the products in one launch. Those of keys are over all queries of a group; the second operand of dQ steps from group
 * to group.
 *
 * @param given dO where the product's second operand is a copy of it
 */
export function launchTogether(
  stream: Stream,
  tile: MatmulTile,
  { group, queries, query_length }: PartGeometry,
  { dQ, dK, dV }: Products,
  unusual: Span,
  given: { readonly half: boolean; readonly gradient: Binding } | undefined,
): void {
  const [ofQ, ofK, ofV] = [fieldsOf(tile, dQ), fieldsOf(tile, dK), fieldsOf(tile, dV)];
  togetherKernel({
    tile,
    whole: { q: hasWholeTiles(tile, dQ), k: hasWholeTiles(tile, dK), v: hasWholeTiles(tile, dV) },
    safe: { keys: dQ.safeFactor !== undefined, rows: dK.safeFactor !== undefined },
    adds: dK.adds === true,
    given: given && (given.half ? 'f16' : 'f32'),
  }).launch(stream, {
    uniforms: {
      ...ending('_q', ofQ),
      ...ending('_k', ofK),
      ...ending('_v', ofV),
      ...{ group, queries_of_head: queries, query_length },
    },
    buffers: {
      slopes: dQ.a.span,
      weights: dV.a.span,
      ...{ keys: dQ.b, queries: dK.b, gradient: dV.b, unusual },
      ...{ d_q: dQ.out, d_k: dK.out, d_v: dV.out },
      given: given?.gradient,
    },
    workgroups: ofQ.tiles + ofK.tiles + ofV.tiles,
  });
}

function fieldsOf(tile: MatmulTile, product: Product): Readonly<Record<Field, number>> {
  const { batch: _matrices, terms: _terms, ...fields } = uniformsOf(product, product.inner);
  return { tiles: tilesOf(tile, product), ...fields };
}
