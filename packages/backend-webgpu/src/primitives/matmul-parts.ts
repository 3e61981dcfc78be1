import type { Stream } from '../runtime/stream.js';
import { defineKernel, read, writeTo } from '../wgsl/define-kernel.js';
import { halfOf } from '../wgsl/numbers.js';
import { inFours, outputType, writer } from './matmul-operands.js';
import type { Operand, Product } from './matmul-product.js';

/** Sums over the parts [parts, batch, rows, columns], one invocation per four neighbours of the result. */
const reduceKernel = (half: boolean, vec: boolean, adds: boolean) =>
  defineKernel({
    key: `matmul parts${half ? ' to f16' : ''}${vec ? ' vec' : ''}${adds ? ' adds' : ''}`,
    uniforms: {
      batch: 'u32',
      rows: 'u32',
      columns: 'u32',
      out_batch: 'u32',
      out_stride: 'u32',
      parts: 'u32',
    },
    buffers: { parts: read(vec ? 'vec4f' : 'f32'), out: writeTo(outputType(half, vec)) },
    workgroup: 64,
    source: () => `${half ? halfOf : ''}
${writer(half, vec, adds)}

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
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = id.x + id.y * groups.x * INVOCATIONS;
  let quads = (params.columns + 3u) / 4u;
  let row = at / quads % params.rows;
  let matrix = at / quads / params.rows;
  if (matrix >= params.batch) { return; }
  let column = at % quads * 4u;
  var sums = vec4f();
  for (var part = 0u; part < params.parts; part++) {
    sums += part_at(((part * params.batch + matrix) * params.rows + row) * params.columns + column, column);
  }
  put(params.out_base + matrix * params.out_batch, row, column, sums);
}`,
  });

/**
 * Where the launch writes: to `parts` f32 results one after another, each of `terms` terms of the sums, or to the
 * result.
 */
export interface Parts {
  readonly out: Operand;
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
    launch({ out, parts, terms });
    return;
  }
  const span = stream.scratch(4 * parts * batch * rows * columns);
  launch({ out: { span, base: 0, batchStep: rows * columns, stride: columns }, parts, terms });
  reduceKernel(product.dtype === 'f16', inFours(out, columns), product.adds ?? false).launch(stream, {
    uniforms: { batch, rows, columns, out_batch: out.batchStep, out_stride: out.stride, parts },
    buffers: { parts: span, out },
    workgroups: { invocations: batch * rows * Math.ceil(columns / 4) },
  });
  stream.release(span);
}
