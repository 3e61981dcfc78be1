import type { DeviceFacts } from '../runtime/facts.js';
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
import { inFours, outputType, writer } from './matmul-operands.js';
import { recordInParts } from './matmul-parts.js';
import { type Operand, type Product, productUniforms, uniformsOf } from './matmul-product.js';
import { hasWholeTiles, invocationsOf, LANES, type MatrixTile, tileStart } from './matmul-tile.js';

/** Rows, columns and terms of a fragment, and its elements. */
const SIDE = 16;
const FRAGMENT = SIDE * SIDE;
/** Neighbours that an invocation moves at once: 16 bytes. */
const VECTOR = 8;

/** Why a device has no products on matrix units. */
export function matrixRefusals({
  features,
  subgroupMinSize,
  subgroupMaxSize,
  vendor,
}: Pick<DeviceFacts, 'features' | 'subgroupMinSize' | 'subgroupMaxSize' | 'vendor'>): readonly string[] {
  const needed = ['subgroups', 'shader-f16', 'chromium-experimental-subgroup-matrix'];
  const reasons = needed.filter((name) => !features.has(name)).map((name) => `the device lacks ${name}`);
  if (subgroupMinSize !== LANES || subgroupMaxSize !== LANES) {
    reasons.push(`subgroups do not all have ${LANES} lanes`);
  }
  // Elsewhere sizes are others, and so are the sums: on Apple devices those of f16 are f16.
  if (vendor !== 'nvidia')
    reasons.push('f16 with sums of f32 in 16 x 16 x 16 are known only on NVIDIA devices');
  return reasons;
}

/** Whether operands and result can be moved eight (four) neighbours at a time. */
export function fitsMatrix({ dtype, adds = false, a, b, out, epilogue, ...sizes }: Product): boolean {
  const { transposeA, transposeB, rows, inner, columns } = sizes;
  return (
    dtype === 'f16' &&
    !adds &&
    inEights(a, transposeA ? rows : inner) &&
    inEights(b, transposeB ? inner : columns) &&
    inFours(out, columns) &&
    biasInFours(epilogue)
  );
}

function inEights({ base, batchStep, stride }: Operand, length: number): boolean {
  return [base, batchStep, stride, length].every((each) => each % VECTOR === 0);
}

interface MatrixParameters {
  readonly tile: MatrixTile;
  readonly halfOut: boolean;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  /** No tile reaches beyond an edge. */
  readonly whole: boolean;
  readonly epilogue: EpilogueParts;
}

/**
 * Products of f16 on matrix units, sums in f32. Operand tiles go through workgroup memory in fragments of 16 x 16, each
 * contiguous, and the next terms are fetched into registers while these are multiplied; elements beyond the edges count as 0
 * and are not written. Workgroup memory: 2 * depth * (rows + columns) bytes, and 1 KiB for each subgroup.
 *
 * Error: products of f16 are exact in f32; each of the inner / 16 steps may round a sum, and the result is rounded to f16.
 */
function kernelOf(parameters: MatrixParameters) {
  const { tile, halfOut, transposeA, transposeB, whole, epilogue } = parameters;
  const name = `${tile.rows}x${tile.columns}x${tile.depth}/${tile.down}x${tile.across}${whole ? ' whole' : ''}`;
  return defineKernel({
    key: `matmul matrix ${name}${halfOut ? ' to f16' : ''}${transposeA ? ' aT' : ''}${transposeB ? ' bT' : ''}${epilogueKey(epilogue)}`,
    uniforms: productUniforms,
    buffers: {
      a: readFrom('vec4u'),
      b: readFrom('vec4u'),
      out: writeTo(outputType(halfOut, true)),
      ...epilogueBuffers(epilogue, true, halfOut),
    },
    workgroup: invocationsOf(tile),
    directives: [
      'enable f16',
      'enable subgroups',
      'enable chromium_experimental_subgroup_matrix',
      'diagnostic(off, chromium.subgroup_matrix_uniformity)',
    ],
    source: () => sourceOf(parameters),
  });
}

/** One operand's tile; with `along`, neighbours in memory lie along the result instead of along the sums. */
interface Side {
  readonly name: 'a' | 'b';
  /** Rows of a or columns of b in the tile. */
  readonly extent: number;
  readonly along: boolean;
  readonly tile: MatrixTile;
  readonly whole: boolean;
}

function sourceOf({ tile, halfOut, transposeA, transposeB, whole, epilogue }: MatrixParameters): string {
  const { rows, columns, depth, down, across } = tile;
  const a: Side = { name: 'a', extent: rows, along: transposeA, tile, whole };
  const b: Side = { name: 'b', extent: columns, along: !transposeB, tile, whole };
  const [blocksDown, blocksAcross] = [rows / SIDE / down, columns / SIDE / across];
  const sums = range(blocksDown).map((i) => range(blocksAcross).map((j) => `sum_${i}_${j}`));
  return `var<workgroup> a_tile: array<f16, ${rows * depth}>;
var<workgroup> b_tile: array<f16, ${columns * depth}>;
var<workgroup> staged: array<f32, ${FRAGMENT * down * across}>;
${halfOut ? halfOf : ''}
${writer(halfOut, true, false, epilogue)}

${tileStart(tile)}
  let subgroup = local / ${LANES}u;
  let down = subgroup / ${across}u;
  let across = subgroup % ${across}u;
  ${sums.map((row) => row.map((sum) => `var ${sum} = subgroup_matrix_result<f32, ${SIDE}, ${SIDE}>();`).join(' ')).join('\n  ')}
  ${[a, b].map((side) => places(side)).join('\n  ')}
  ${[a, b].map((side) => fetch(side)).join('\n  ')}
  for (var term = first; term < end; term += ${depth}u) {
    workgroupBarrier();
    ${[a, b].map((side) => store(side)).join('\n    ')}
    workgroupBarrier();
    if (term + ${depth}u < end) {
      ${[a, b].map((side) => advance(side)).join('\n      ')}
    }
    ${times(depth / SIDE, (step) => multiply(a, b, sums, step), '\n    ')}
  }
  let out_start = params.out_base + (part * params.batch + matrix) * params.out_batch;
  let lane = local % ${LANES}u;
  ${sums
    .flatMap((row, i) =>
      row.map(
        (sum, j) => `subgroupMatrixStore<row_major>(&staged, subgroup * ${FRAGMENT}u, ${sum}, ${SIDE}u);
  workgroupBarrier();
  ${writeFragment(`(down * ${blocksDown}u + ${i}u) * ${SIDE}u`, `(across * ${blocksAcross}u + ${j}u) * ${SIDE}u`)}
  workgroupBarrier();`,
      ),
    )
    .join('\n  ')}
}`;
}

/** Vectors of an operand that each invocation moves. */
const vectorsEach = ({ extent, tile }: Side): number => (extent * tile.depth) / VECTOR / invocationsOf(tile);

/** Where each vector comes from, as an index of vectors, and what its step to the next terms is. */
function places(side: Side): string {
  const { name, extent, along, tile } = side;
  const origin = name === 'a' ? 'tile_row' : 'tile_column';
  const lines = range(vectorsEach(side)).map((v) => {
    const at = `(local + ${v * invocationsOf(tile)}u)`;
    // line, place: the stored line of the operand and the place in it, in the tile
    return along
      ? `let ${name}_line_${v} = ${at} / ${extent / VECTOR}u; let ${name}_place_${v} = ${at} % ${extent / VECTOR}u * ${VECTOR}u;
  var ${name}_at_${v} = (${name}_start + (first + ${name}_line_${v}) * params.${name}_stride + ${origin} + ${name}_place_${v}) / ${VECTOR}u;`
      : `let ${name}_line_${v} = ${at} / ${tile.depth / VECTOR}u; let ${name}_place_${v} = ${at} % ${tile.depth / VECTOR}u * ${VECTOR}u;
  var ${name}_at_${v} = (${name}_start + (${origin} + ${name}_line_${v}) * params.${name}_stride + first + ${name}_place_${v}) / ${VECTOR}u;`;
  });
  const step = along ? `${tile.depth / VECTOR}u * params.${name}_stride` : `${tile.depth / VECTOR}u`;
  return `${lines.join('\n  ')}
  let ${name}_step = ${step};
  ${range(vectorsEach(side))
    .map((v) => `var ${name}_${v}: vec4u;`)
    .join(' ')}`;
}

/** Reads the vectors of the terms from `first` on; the same with `term` for later ones. */
function fetch(side: Side, from = 'first'): string {
  const { name, along, whole } = side;
  const origin = name === 'a' ? 'tile_row' : 'tile_column';
  const across = name === 'a' ? 'params.rows' : 'params.columns';
  return range(vectorsEach(side))
    .map((v) => {
      if (whole) return `${name}_${v} = ${name}[${name}_at_${v}];`;
      const [result, term] = along ? ['place', 'line'] : ['line', 'place'];
      const inside = `${origin} + ${name}_${result}_${v} < ${across} && ${from} + ${name}_${term}_${v} < end`;
      return `{ let inside = ${inside}; ${name}_${v} = select(vec4u(), ${name}[select(0u, ${name}_at_${v}, inside)], inside); }`;
    })
    .join('\n  ');
}

function advance(side: Side): string {
  const steps = range(vectorsEach(side)).map((v) => `${side.name}_at_${v} += ${side.name}_step;`);
  return `${steps.join(' ')} ${fetch(side, `term + ${side.tile.depth}u`)}`;
}

/** Puts the vectors where fragments are contiguous. */
function store(side: Side): string {
  const { name, along, tile } = side;
  return range(vectorsEach(side))
    .map((v) => {
      const [line, place] = [`${name}_line_${v}`, `${name}_place_${v}`];
      const [result, term] = along ? [place, line] : [line, place];
      const block = `(${result} / ${SIDE}u * ${tile.depth / SIDE}u + ${term} / ${SIDE}u)`;
      const words = ['x', 'y', 'z', 'w'].map((axis, w) => {
        const pair = `pair_${w}`;
        return `let ${pair} = bitcast<vec2<f16>>(${name}_${v}.${axis}); ${name}_tile[to + ${2 * w}u] = ${pair}.x; ${name}_tile[to + ${2 * w + 1}u] = ${pair}.y;`;
      });
      return `{ let to = ${block} * ${FRAGMENT}u + ${line} % ${SIDE}u * ${SIDE}u + ${place} % ${SIDE}u; ${words.join(' ')} }`;
    })
    .join('\n    ');
}

/** Adds the products of 16 terms. */
function multiply(a: Side, b: Side, sums: readonly (readonly string[])[], step: number): string {
  const blocks = a.tile.depth / SIDE;
  const load = (side: Side, place: string, count: number): string[] =>
    range(count).map((i) => {
      const [type, order] =
        side.name === 'a'
          ? ['left', side.along ? 'col_major' : 'row_major']
          : ['right', side.along ? 'row_major' : 'col_major'];
      const at = `((${place} * ${count}u + ${i}u) * ${blocks}u + ${step}u) * ${FRAGMENT}u`;
      return `let ${side.name}${i} = subgroupMatrixLoad<subgroup_matrix_${type}<f16, ${SIDE}, ${SIDE}>, ${order}>(&${side.name}_tile, ${at}, ${SIDE}u);`;
    });
  const columns = (sums[0] as readonly string[]).length;
  const products = range(columns).flatMap((j) =>
    sums.map((row, i) => `${row[j]} = subgroupMatrixMultiplyAccumulate(a${i}, b${j}, ${row[j]});`),
  );
  return `{
      ${[...load(a, 'down', sums.length), ...load(b, 'across', columns)].join('\n      ')}
      ${products.join('\n      ')}
    }`;
}

/** Each lane writes eight neighbours of a row. */
function writeFragment(row: string, column: string): string {
  const at = `subgroup * ${FRAGMENT}u + lane * ${VECTOR}u`;
  const quad = (from: number): string =>
    `put(out_start, tile_row + ${row} + lane / 2u, tile_column + ${column} + lane % 2u * ${VECTOR}u + ${from}u, vec4f(${range(
      4,
    )
      .map((i) => `staged[${at} + ${from + i}u]`)
      .join(', ')}));`;
  return `${quad(0)}
  ${quad(4)}`;
}

/** Records a product that `fitsMatrix`, in parts where tiles are few and sums long. */
export function launchMatrix(stream: Stream, product: Product, tile: MatrixTile): void {
  const { transposeA, transposeB, a, b } = product;
  const tiles = tilesOf(tile, product);
  const whole = hasWholeTiles(tile, product);
  recordInParts(stream, product, divide(tile, product).parts, tile.depth, ({ out, parts, terms }) => {
    const kernel = kernelOf({
      tile,
      halfOut: parts === 1,
      transposeA,
      transposeB,
      whole,
      epilogue: parts === 1 ? epilogueParts(product.epilogue) : NO_EPILOGUE,
    });
    kernel.launch(stream, {
      uniforms: uniformsOf({ ...product, out }, terms),
      buffers: { a, b, out, ...epilogueSpans(product.epilogue, parts === 1) },
      workgroups: tiles * parts,
    });
  });
}
