import type { Binding } from '../runtime/binding.js';
import type { Stream } from '../runtime/stream.js';
import { defineKernel, readFrom, writeTo } from '../wgsl/define-kernel.js';
import { forEachElement } from '../wgsl/text.js';
import type { Borrowed } from './operands.js';

/**
 * Weights for a product that includes units that are not kept, with gradient 0. Times 0, a weight that is not finite
 * would give NaN, so such weights are 0 here, and `recordRest` adds their contribution to the kept units.
 */
export interface FiniteWeights {
  readonly weights: Binding;
  readonly finite: Binding;
  /** One word: not 0 if any weight is not finite. */
  readonly found: Binding;
}

const NOT_FINITE = '(bitcast<u32>(x) & 0x7f800000u) == 0x7f800000u';

const finiteWeights = defineKernel({
  key: 'feed-forward finite weights',
  uniforms: { count: 'u32' },
  buffers: { weights: readFrom('f32'), finite: writeTo('f32'), found: writeTo('u32') },
  workgroup: 256,
  source: () =>
    forEachElement(`var x = weights[params.weights_base + at];
  if (${NOT_FINITE}) { x = 0.0; found[params.found_base] = 1u; }
  finite[params.finite_base + at] = x;`),
});

/** Weights [D, F], `count` of them. */
export function recordFinite(
  stream: Stream,
  borrowed: Borrowed,
  count: number,
  weights: Binding,
): FiniteWeights {
  const finite = borrowed.take(count);
  const found = borrowed.take(1);
  stream.clear({ ...found.span, size: 4 });
  const buffers = { weights, finite, found };
  finiteWeights.launch(stream, { uniforms: { count }, buffers, workgroups: { invocations: count } });
  return buffers;
}

const rest = defineKernel({
  key: 'feed-forward weights that are not finite',
  uniforms: { count: 'u32', k: 'u32', input_dim: 'u32', hidden: 'u32' },
  buffers: {
    indices: readFrom('i32'),
    gradients: readFrom('f32'),
    weights: readFrom('f32'),
    found: readFrom('u32'),
    dx: writeTo('f32'),
  },
  workgroup: 256,
  source: () =>
    forEachElement(`if (found[params.found_base] == 0u) { return; }
  let first = at / params.input_dim * params.k;
  let row = params.weights_base + at % params.input_dim * params.hidden;
  for (var slot = 0u; slot < params.k; slot++) {
    let unit = indices[params.indices_base + first + slot];
    if (unit < 0) { continue; }
    let x = weights[row + u32(unit)];
    if (${NOT_FINITE}) { dx[params.dx_base + at] += gradients[params.gradients_base + first + slot] * x; }
  }`),
});

/** dX[token, d] += sum over the kept units j of gradients[token, slot of j] * weights[d, j], of weights that are not finite. */
export function recordRest(
  stream: Stream,
  shape: { readonly tokens: number; readonly k: number; readonly inputDim: number; readonly hidden: number },
  indices: Binding,
  gradients: Binding,
  { weights, found }: FiniteWeights,
  dX: Binding,
): void {
  const { tokens, k, inputDim, hidden } = shape;
  const count = tokens * inputDim;
  rest.launch(stream, {
    uniforms: { count, k, input_dim: inputDim, hidden },
    buffers: { indices, gradients, weights, found, dx: dX },
    workgroups: { invocations: count },
  });
}
