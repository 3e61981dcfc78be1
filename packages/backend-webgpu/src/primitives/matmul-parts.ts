import { type Binding, wholeOf } from '../runtime/binding.js';
import type { Stream } from '../runtime/stream.js';
import { defineKernel, optional, read, writeTo } from '../wgsl/define-kernel.js';
import { halfOf } from '../wgsl/numbers.js';
import {
  biasInFours,
  type EpilogueParts,
  epilogueBuffers,
  epilogueKey,
  epilogueParts,
  epilogueSpans,
} from './matmul-epilogue.js';
import { putSums, type Summed, sumsBuffer, sumsKey, sumsLength } from './matmul-operand-sums.js';
import { inFours, outputType, writer } from './matmul-operands.js';
import type { Operand, Product } from './matmul-product.js';

const INVOCATIONS = 256;
/**
 * Parts from which on several invocations share a sum, how many do, and the most results of such a product. Measured for
 * 264 parts of 4,096 results (docs/kernels/primitives.md); the limits are choices.
 */
const MANY_PARTS = 32;
const SIDE_BY_SIDE = 16;
const FEW_RESULTS = 1 << 18;

interface SumParameters {
  readonly half: boolean;
  readonly vec: boolean;
  readonly adds: boolean;
  /** Invocations that share a sum. */
  readonly lanes: number;
  readonly epilogue: EpilogueParts;
  /** See `Product.sums`. */
  readonly sums: Summed | undefined;
}

/**
 * Sums over the parts [parts, batch, rows, columns], four neighbours of the result at a time, by one invocation or by
 * several whose sums are joined in order; and in the same way over the parts of an operand's sums, [parts, length].
 */
const sumKernel = ({ half, vec, adds, lanes, epilogue, sums }: SumParameters) =>
  defineKernel({
    key: `matmul parts by ${lanes}${half ? ' to f16' : ''}${vec ? ' vec' : ''}${adds ? ' adds' : ''}${epilogueKey(epilogue)}${sumsKey(sums)}`,
    uniforms: {
      batch: 'u32',
      rows: 'u32',
      columns: 'u32',
      out_batch: 'u32',
      out_stride: 'u32',
      parts: 'u32',
    },
    buffers: {
      parts: read(vec ? 'vec4f' : 'f32'),
      out: writeTo(outputType(half, vec)),
      ...epilogueBuffers(epilogue, vec, half),
      operand_parts: optional(sums !== undefined, read('f32')),
      operand_sums_out: sumsBuffer(sums),
    },
    workgroup: INVOCATIONS,
    source: () => `const LANES = ${lanes}u;
const PLACES = INVOCATIONS / LANES;
${lanes > 1 ? 'var<workgroup> joined: array<vec4f, INVOCATIONS>;' : ''}
${half ? halfOf : ''}
${writer(half, vec, adds, epilogue)}

fn part_at(at: u32, column: u32) -> vec4f {
  ${
    vec
      ? 'return parts[at / 4u];'
      : `var values = vec4f(parts[at], 0.0, 0.0, 0.0);
  if (column + 1u < params.columns) { values.y = parts[at + 1u]; }
  if (column + 2u < params.columns) { values.z = parts[at + 2u]; }
  if (column + 3u < params.columns) { values.w = parts[at + 3u]; }
  return values;`
  }
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let at = (workgroup.x + workgroup.y * groups.x) * PLACES + local % PLACES;
  let quads = (params.columns + 3u) / 4u;
  let row = at / quads % params.rows;
  let matrix = at / quads / params.rows;
  let column = at % quads * 4u;
  var sums = vec4f();
  if (matrix < params.batch) {
    for (var part = local / PLACES; part < params.parts; part += LANES) {
      sums += part_at(((part * params.batch + matrix) * params.rows + row) * params.columns + column, column);
    }
  }${sums === undefined ? '' : operandPartsText(sums)}
  ${
    lanes > 1
      ? `joined[local] = sums;
  workgroupBarrier();
  if (local >= PLACES) { return; }
  for (var lane = 1u; lane < LANES; lane++) { sums += joined[local + lane * PLACES]; }`
      : ''
  }
  if (matrix < params.batch) { put(params.out_base + matrix * params.out_batch, row, column, sums); }
  ${sums === undefined ? '' : `else { ${putSums(sums, OPERAND_PLACE, 'sums')} }`}
}`,
  });

/** Invocations beyond those of the result take four of the operand's sums each. */
const OPERAND_PLACE = '(at - params.batch * params.rows * quads) * 4u';

const operandPartsText = (of: Summed): string => ` else {
    let place = ${OPERAND_PLACE};
    for (var part = local / PLACES; part < params.parts; part += LANES) {
      for (var i = 0u; i < 4u && place + i < ${sumsLength(of)}; i++) {
        sums[i] += operand_parts[part * ${sumsLength(of)} + place + i];
      }
    }
  }`;

/**
 * Where the launch writes: to `parts` f32 results one after another, each of `terms` terms of the sums, or to the
 * result.
 */
export interface Parts {
  readonly out: Operand;
  /** Where an operand's sums go, likewise. */
  readonly sums: Binding | undefined;
  readonly parts: number;
  readonly terms: number;
}

/**
 * Records a product whose sums are cut into at most `most` parts, each of a multiple of `step` terms, and adds those
 * in order.
 */
export function recordInParts(
  stream: Stream,
  product: Product,
  most: number,
  step: number,
  launch: (parts: Parts) => void,
): void {
  const { batch, rows, inner, columns, out } = product;
  const terms = Math.ceil(inner / most / step) * step;
  const parts = Math.ceil(inner / terms);
  if (parts === 1) {
    launch({ out, sums: product.sums?.out, parts, terms });
    return;
  }
  const span = stream.scratch(4 * parts * batch * rows * columns);
  const length = product.sums === undefined ? 0 : product.sums.of === 'a' ? rows : columns;
  const sumSpan = length === 0 ? undefined : stream.scratch(4 * parts * length);
  launch({
    out: { span, base: 0, batchStep: rows * columns, stride: columns },
    sums: sumSpan && wholeOf(sumSpan),
    ...{ parts, terms },
  });
  const quads = batch * rows * Math.ceil(columns / 4) + Math.ceil(length / 4);
  const lanes = parts >= MANY_PARTS && 4 * quads <= FEW_RESULTS ? SIDE_BY_SIDE : 1;
  const kernel = sumKernel({
    half: product.dtype === 'f16',
    vec: inFours(out, columns) && biasInFours(product.epilogue),
    adds: product.adds ?? false,
    lanes,
    epilogue: epilogueParts(product.epilogue),
    sums: product.sums?.of,
  });
  kernel.launch(stream, {
    uniforms: { batch, rows, columns, out_batch: out.batchStep, out_stride: out.stride, parts },
    buffers: {
      ...{ parts: span, out, ...epilogueSpans(product.epilogue) },
      ...{ operand_parts: sumSpan, operand_sums_out: product.sums?.out },
    },
    workgroups: { invocations: quads * lanes },
  });
  stream.release(span);
  if (sumSpan !== undefined) stream.release(sumSpan);
}
