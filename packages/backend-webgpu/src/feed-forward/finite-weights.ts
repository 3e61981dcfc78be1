import type { Stream } from '../runtime/stream.js';
import { elementKernel, launchElements } from './elementwise.js';
import type { Borrowed } from './operands.js';
import type { Range } from './range.js';

/**
 * Weights for a product in which units that are not kept take part with gradient 0, which must not make NaN of a weight
 * that is not finite: such weights are 0 here, and `recordRest` adds what they give to the units that are kept.
 */
export interface FiniteWeights {
  readonly weights: Range;
  readonly finite: Range;
  /** A word: not 0 where a weight is not finite. */
  readonly found: Range;
}

const NOT_FINITE = '(bitcast<u32>(x) & 0x7f800000u) == 0x7f800000u';

/** Weights [D, F], `count` of them. */
export function recordFinite(
  stream: Stream,
  borrowed: Borrowed,
  count: number,
  weights: Range,
): FiniteWeights {
  const finite = borrowed.take(count);
  const found = borrowed.take(1);
  stream.clear({ ...found.span, size: 4 });
  const kernel = elementKernel({
    key: 'finite weights',
    buffers: [
      ['weights', 'f32', 'read'],
      ['finite', 'f32', 'write'],
      ['found', 'u32', 'write'],
    ],
    body: `var x = weights[params.weights_base + at];
  if (${NOT_FINITE}) { x = 0.0; found[params.found_base] = 1u; }
  finite[params.finite_base + at] = x;`,
  });
  launchElements(stream, kernel, count, [weights, finite, found]);
  return { weights, finite, found };
}

/** dX[token, d] += sum over the kept units j of gradients[token, slot of j] * weights[d, j], of weights that are not finite. */
export function recordRest(
  stream: Stream,
  shape: { readonly tokens: number; readonly k: number; readonly inputDim: number; readonly hidden: number },
  indices: Range,
  gradients: Range,
  { weights, found }: FiniteWeights,
  dX: Range,
): void {
  const kernel = elementKernel({
    key: 'weights that are not finite',
    buffers: [
      ['indices', 'i32', 'read'],
      ['gradients', 'f32', 'read'],
      ['weights', 'f32', 'read'],
      ['found', 'u32', 'read'],
      ['dx', 'f32', 'write'],
    ],
    uniforms: ['k', 'input_dim', 'hidden'],
    body: `if (found[params.found_base] == 0u) { return; }
  let first = at / params.input_dim * params.k;
  let row = params.weights_base + at % params.input_dim * params.hidden;
  for (var slot = 0u; slot < params.k; slot++) {
    let unit = indices[params.indices_base + first + slot];
    if (unit < 0) { continue; }
    let x = weights[row + u32(unit)];
    if (${NOT_FINITE}) { dx[params.dx_base + at] += gradients[params.gradients_base + first + slot] * x; }
  }`,
  });
  const { tokens, k, inputDim, hidden } = shape;
  const ranges = [indices, gradients, weights, found, dX];
  launchElements(stream, kernel, tokens * inputDim, ranges, [k, inputDim, hidden]);
}
