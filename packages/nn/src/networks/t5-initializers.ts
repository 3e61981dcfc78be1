import { type Initializer, lecunNormal, normal } from '../declared/initializers.js';
import type { AttentionInitializers } from './attention-settings.js';

/**
 * T5's initial weights, for `attention.initializers` and `feedForward.initializer`. Query weights start smaller,
 * because T5's scores are not scaled: use them with `scale: 1`.
 *
 * @param width of the model
 * @param headDim of its heads
 *
 * @example
 * const begin = t5Initializers(64, 16);
 * const layer = encoderLayer({
 *   ...{ width: 64, heads: 4, hidden: 128, normFirst: true, norm: { kind: 'rmsNorm' } },
 *   attention: { bias: false, scale: 1, initializers: begin.attention },
 *   feedForward: { bias: false, initializer: begin.feedForward },
 * });
 */
export function t5Initializers(
  width: number,
  headDim: number,
): { readonly attention: Required<AttentionInitializers>; readonly feedForward: Initializer } {
  const plain = lecunNormal();
  return {
    attention: { query: normal((width * headDim) ** -0.5), key: plain, value: plain, output: plain },
    feedForward: plain,
  };
}
