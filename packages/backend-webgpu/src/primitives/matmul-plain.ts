import type { Stream } from '../runtime/stream.js';
import { defineKernel, readFrom, writeTo } from '../wgsl/define-kernel.js';
import { halfOf, loadFloat } from '../wgsl/numbers.js';
import {
  type EpilogueParts,
  epilogueBuffers,
  epilogueKey,
  epilogueParts,
  epilogueSpans,
  finishHalfText,
  finishText,
  isEmptyEpilogue,
} from './matmul-epilogue.js';
import { safeText } from './matmul-operands.js';
import { type Product, productUniforms, uniformsOf } from './matmul-product.js';

/**
 * One invocation per element (for f16, per word) of the result, sums in ascending order. Reads each operand once per
 * row or column of the result; no workgroup memory.
 */
function kernelOf({ dtype, transposeA, transposeB, adds = false, safeFactor, epilogue }: Product) {
  const half = dtype === 'f16';
  const after = epilogueParts(epilogue);
  const isPlain = isEmptyEpilogue(after);
  const safe = safeFactor !== undefined;
  const b = `load_b(b_start + i${transposeB ? '' : ' * params.b_stride'})`;
  return defineKernel({
    key: `matmul plain ${dtype}${transposeA ? ' aT' : ''}${transposeB ? ' bT' : ''}${safe ? ' safe' : ''}${adds ? ' adds' : ''}${epilogueKey(after)}`,
    uniforms: productUniforms,
    buffers: {
      a: readFrom('u32'),
      b: readFrom('u32'),
      out: writeTo('u32'),
      ...epilogueBuffers(after, false, half),
    },
    workgroup: 64,
    source: () => `${half ? halfOf : ''}
${loadFloat('a', half)}
${loadFloat('b', half)}${safe ? `\n${safeText()}` : ''}
${isPlain ? '' : half ? finishHalfText(after) : finishText(after, false, false)}

fn product(matrix: u32, row: u32, column: u32) -> f32 {
  let a_start = params.a_base + matrix * params.a_batch + row${transposeA ? '' : ' * params.a_stride'};
  let b_start = params.b_base + matrix * params.b_batch + column${transposeB ? ' * params.b_stride' : ''};
  var sum = 0.0;
  for (var i = 0u; i < params.inner; i++) {
    sum += load_a(a_start + i${transposeA ? ' * params.a_stride' : ''}) * ${safe ? `safe_b(vec4f(${b})).x` : b};
  }
  return sum;
}

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = id.x + id.y * groups.x * INVOCATIONS;
  ${half ? storeHalves(after) : storeFloat(adds, isPlain)}
}`,
  });
}

const storeFloat = (adds: boolean, isPlain: boolean): string => `
  let size = params.rows * params.columns;
  if (at >= params.batch * size) { return; }
  let matrix = at / size;
  let row = at % size / params.columns;
  let column = at % params.columns;
  let to = params.out_base + matrix * params.out_batch + row * params.out_stride + column;
  let sum = product(matrix, row, column);
  out[to] = bitcast<u32>(${adds ? 'bitcast<f32>(out[to]) + sum' : isPlain ? 'sum' : 'finished(to, column, sum)'});`;

/**
 * Both halves of a word; a half that does not belong to this product keeps its bits. With pre-activations, all words of the
 * result are the product's own.
 */
const storeHalves = (after: EpilogueParts): string => `
  let end = params.out_base + (params.batch - 1u) * params.out_batch + (params.rows - 1u) * params.out_stride + params.columns;
  if (2u * at >= end || 2u * at + 1u < params.out_base) { return; }
  var bits = out[at];
  ${after.keeps ? 'var kept = 0u;' : ''}
  for (var half = 0u; half < 2u; half++) {
    let element = 2u * at + half;
    if (element < params.out_base || element >= end) { continue; }
    let place = element - params.out_base;
    let matrix = place / params.out_batch;
    let row = place % params.out_batch / params.out_stride;
    let column = place % params.out_batch % params.out_stride;
    if (column >= params.columns || row >= params.rows) { continue; }
    ${
      isEmptyEpilogue(after)
        ? 'let value = half_of(product(matrix, row, column));'
        : `let own = kept_value(column, product(matrix, row, column));
    let value = half_of(final_value(own));`
    }
    ${after.keeps ? 'kept |= half_of(own) << (16u * half);' : ''}
    bits = (bits & (0xffff0000u >> (16u * half))) | (value << (16u * half));
  }
  out[at] = bits;
  ${after.keeps ? 'preactivations[at] = kept;' : ''}`;

export function launchPlain(stream: Stream, product: Product): void {
  const { batch, rows, columns, a, b, out } = product;
  const invocations = product.dtype === 'f16' ? out.span.size / 4 : batch * rows * columns;
  kernelOf(product).launch(stream, {
    uniforms: uniformsOf(product, product.inner),
    buffers: { a, b, out, ...epilogueSpans(product.epilogue) },
    workgroups: { invocations },
  });
}
