import type { Stream } from '../runtime/stream.js';
import { defineKernel, readFrom, writeTo } from '../wgsl/define-kernel.js';
import { halfOf, loadFloat } from '../wgsl/numbers.js';
import { range, times } from '../wgsl/text.js';
import {
  biasInFours,
  epilogueBuffers,
  epilogueParts,
  epilogueSpans,
  finishText,
  isEmptyEpilogue,
  NO_EPILOGUE,
} from './matmul-epilogue.js';
import {
  formKey,
  inFours,
  inputType,
  loader,
  outputType,
  type ProductForm,
  writer,
} from './matmul-operands.js';
import { recordInParts } from './matmul-parts.js';
import { type Product, productUniforms, uniformsOf } from './matmul-product.js';

const INVOCATIONS = 256;
/** Rows whose sums an invocation can hold. */
export const NARROW_ROWS = 16;
/** Workgroups that keep a large device busy, the number that is enough, and the fewest terms worth a workgroup. */
const WANTED_WORKGROUPS = 528;
const ENOUGH_WORKGROUPS = 96;
const LEAST_TERMS = 64;
/** Up to this many terms, workgroups of few columns are better than parts (docs/kernels/decoding.md); the limit is a choice. */
const MOST_TERMS = 4096;

interface NarrowParameters extends ProductForm {
  /** 1, 2, 4, 8 or 16: at least the rows of the product. */
  readonly rows: number;
  /** Invocations side by side along the columns, each with 4 of them. */
  readonly lanes: number;
}

/**
 * Products of few rows, as in decoding: nearly all the work is reading b, so it is read once, by as many invocations
 * as possible. A workgroup takes 4 * lanes columns and a range of terms; its invocations' sums, and then those of the
 * ranges (`recordInParts`), are added in a fixed order. 16 KiB of workgroup memory.
 */
function kernelOf(parameters: NarrowParameters) {
  const { rows, lanes, half, halfOut, vecA, vecB, vecOut, epilogue } = parameters;
  return defineKernel({
    key: `matmul narrow ${rows} ${lanes} ${formKey(parameters)}`,
    uniforms: productUniforms,
    buffers: {
      a: readFrom(inputType(half, vecA)),
      b: readFrom(inputType(half, vecB)),
      out: writeTo(outputType(halfOut, vecOut)),
      ...epilogueBuffers(epilogue, vecOut, halfOut),
    },
    workgroup: INVOCATIONS,
    source: () => sourceOf(parameters),
  });
}

function sourceOf(parameters: NarrowParameters): string {
  const { rows, lanes, half, halfOut, transposeA, transposeB, vecA, vecB, safe } = parameters;
  const all = range(rows);
  const depthLanes = INVOCATIONS / lanes;
  return `var<workgroup> parts: array<array<vec4f, INVOCATIONS>, ${Math.min(rows, 4)}>;
${halfOut ? halfOf : ''}
${transposeA ? columnOfA(half) : loader({ name: 'a', half, along: false, vec: vecA })}
${loader({ name: 'b', half, along: !transposeB, vec: vecB, safe })}
${putSums(parameters)}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let blocks = (params.columns + ${4 * lanes - 1}u) / ${4 * lanes}u;
  let index = workgroup.x + workgroup.y * groups.x;
  let part = index / (blocks * params.batch);
  let first = part * params.terms;
  if (first >= params.inner) { return; }
  let matrix = index / blocks % params.batch;
  let origin = index % blocks * ${4 * lanes}u;
  let a_start = params.a_base + matrix * params.a_batch;
  let b_start = params.b_base + matrix * params.b_batch;
  let end = min(first + params.terms, params.inner);
  ${transposeB ? `let lane = local / ${depthLanes}u; let depth = local % ${depthLanes}u;` : `let lane = local % ${lanes}u; let depth = local / ${lanes}u;`}
  ${all.map((row) => `var sum_${row}: vec4f;`).join(' ')}
  for (var term = first + 4u * depth; term < end; term += ${4 * depthLanes}u) {
    ${transposeB ? linesOfB(lanes) : termsOfB}
    ${all.map((row) => `let a_${row} = fetch_a(a_start, ${row}u, term);`).join(' ')}
    ${all.map((row) => addRow(row, transposeB)).join('\n    ')}
  }
  let out_start = params.out_base + (part * params.batch + matrix) * params.out_batch;
  ${reduceRows(rows, lanes, transposeB)}
}`;
}

/** Four terms of four neighbouring columns. */
const termsOfB = times(4, (i) => `let b${i} = fetch_b(b_start, term + ${i}u, origin + 4u * lane);`, ' ');

/** Four terms of four columns, `lanes` apart. */
function linesOfB(lanes: number): string {
  return times(4, (i) => `let b${i} = fetch_b(b_start, origin + lane + ${i * lanes}u, term);`, ' ');
}

function addRow(row: number, transposeB: boolean): string {
  const [sum, a] = [`sum_${row}`, `a_${row}`];
  return transposeB
    ? `${sum} += vec4f(dot(${a}, b0), dot(${a}, b1), dot(${a}, b2), dot(${a}, b3));`
    : `${sum} = fma(vec4f(${a}.x), b0, fma(vec4f(${a}.y), b1, fma(vec4f(${a}.z), b2, fma(vec4f(${a}.w), b3, ${sum}))));`;
}

/** `fetch_a` for rows whose terms are not contiguous. */
function columnOfA(half: boolean): string {
  const load = half ? loadFloat('a', true) : 'fn load_a(at: u32) -> f32 { return a[at]; }';
  const each = ['x', 'y', 'z', 'w'].map(
    (axis, i) =>
      `if (place + ${i}u < params.inner) { values.${axis} = load_a(at + ${i}u * params.a_stride); }`,
  );
  return `${load}
fn fetch_a(start: u32, line: u32, place: u32) -> vec4f {
  var values = vec4f();
  if (line >= params.rows) { return values; }
  let at = start + place * params.a_stride + line;
  ${each.join('\n  ')}
  return values;
}`;
}

/** `put_sums(start, row, origin, lane, sums)`: writes four neighbours, or four columns `lanes` apart. */
function putSums({
  transposeB,
  lanes,
  halfOut: half,
  vecOut: vec,
  adds,
  epilogue,
}: NarrowParameters): string {
  const isPlain = isEmptyEpilogue(epilogue);
  const head = 'fn put_sums(start: u32, row: u32, origin: u32, lane: u32, sums: vec4f)';
  if (!transposeB)
    return `${writer(half, vec, adds, epilogue)}\n${head} { put(start, row, origin + 4u * lane, sums); }`;
  const value = half
    ? 'atomicOr(&out[at / 2u], half_of(sums[i]) << (16u * (at % 2u)));'
    : `out[at] ${adds ? '+=' : '='} ${isPlain ? 'sums[i]' : 'finished(at, column, sums[i])'};`;
  return `${isPlain ? '' : `${finishText(epilogue, false, false)}\n`}${head} {
  if (row >= params.rows) { return; }
  for (var i = 0u; i < 4u; i++) {
    let column = origin + lane + i * ${lanes}u;
    let at = start + row * params.out_stride + column;
    if (column < params.columns) { ${value} }
  }
}`;
}

/** Adds what the depth lanes hold, four rows at a time. */
function reduceRows(rows: number, lanes: number, transposeB: boolean): string {
  const depthLanes = INVOCATIONS / lanes;
  const at = transposeB ? `lane_out * ${depthLanes}u + i` : `i * ${lanes}u + lane_out`;
  const steps: string[] = [];
  for (let first = 0; first < rows; first += 4) {
    const count = Math.min(4, rows - first);
    const stores = times(count, (i) => `parts[${i}u][local] = sum_${first + i};`, ' ');
    steps.push(`${first > 0 ? 'workgroupBarrier();' : ''}
  ${stores}
  workgroupBarrier();
  for (var slot = local; slot < ${count * lanes}u; slot += INVOCATIONS) {
    let row = slot / ${lanes}u;
    let lane_out = slot % ${lanes}u;
    var sums = vec4f();
    for (var i = 0u; i < ${depthLanes}u; i++) { sums += parts[row][${at}]; }
    put_sums(out_start, ${first}u + row, origin, lane_out, sums);
  }`);
  }
  return steps.join('\n  ');
}

/** How a product of few rows is divided: columns into blocks of 4 * lanes, sums into at most `most` parts. */
function divisionOf(
  { batch, inner, columns }: { readonly batch: number; readonly inner: number; readonly columns: number },
  transposeB: boolean,
): { readonly lanes: number; readonly blocks: number; readonly most: number } {
  const blocksOf = (lanes: number): number => batch * Math.ceil(columns / (4 * lanes));
  // Narrower workgroups mean more of them, which costs less than a second launch to add parts.
  const wide = [32, 16].find((count) => blocksOf(count) >= WANTED_WORKGROUPS && !(transposeB && count > 16));
  const narrow =
    inner <= MOST_TERMS ? [8, 4, 2].find((count) => blocksOf(count) >= ENOUGH_WORKGROUPS) : undefined;
  const lanes = wide ?? narrow ?? 8;
  const blocks = blocksOf(lanes);
  const wanted = blocks >= ENOUGH_WORKGROUPS ? 1 : Math.ceil(WANTED_WORKGROUPS / blocks);
  return { lanes, blocks, most: Math.max(1, Math.min(wanted, Math.floor(inner / LEAST_TERMS))) };
}

/** The most parts that the sums of a product of few rows are divided into. */
export function narrowParts(sizes: {
  readonly batch: number;
  readonly inner: number;
  readonly columns: number;
}): number {
  return divisionOf(sizes, false).most;
}

/** Records a product of at most `NARROW_ROWS` rows. `out` of f16 must have been cleared. */
export function launchNarrow(stream: Stream, product: Product): void {
  const { rows, inner, columns, transposeA, transposeB, a, b } = product;
  const half = product.dtype === 'f16';
  const { lanes, blocks, most } = divisionOf(product, transposeB);
  recordInParts(stream, product, most, 4, ({ out, parts, terms }) => {
    const kernel = kernelOf({
      rows: 2 ** Math.ceil(Math.log2(rows)),
      lanes,
      half,
      halfOut: half && parts === 1,
      transposeA,
      transposeB,
      vecA: !transposeA && inFours(a, inner),
      vecB: inFours(b, transposeB ? inner : columns),
      vecOut: !transposeB && inFours(out, columns) && biasInFours(product.epilogue),
      adds: parts === 1 && (product.adds ?? false),
      safe: product.safeFactor !== undefined,
      epilogue: parts === 1 ? epilogueParts(product.epilogue) : NO_EPILOGUE,
    });
    kernel.launch(stream, {
      uniforms: uniformsOf({ ...product, out }, terms),
      buffers: { a, b, out, ...epilogueSpans(product.epilogue, parts === 1) },
      workgroups: blocks * parts,
    });
  });
}
