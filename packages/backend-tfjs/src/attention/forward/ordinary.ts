import type { AttentionInputs, AttentionRequest } from '@topk-attention/core/backend';
import type { Tf, TfTensor } from '../../tf.js';

/** Products of two such numbers, summed over any head, are far from infinite. */
const LARGEST_FACTOR = 1e15;
const LARGEST_HEAD = 1e6;
/** Sums that include such a bias are far from infinite, too. */
const LARGEST_BIAS = 1e30;

/**
 * Computes `ForwardPass.isOrdinary`. Checking the inputs of a call, which are small compared with its scores, saves
 * checking each score. For engines that can be read synchronously.
 */
export function areOrdinary(tf: Tf, request: AttentionRequest, inputs: AttentionInputs<TfTensor>): boolean {
  const { q, k, v, bias, relativeTable } = inputs;
  const isBelow = (x: TfTensor, limit: number): boolean =>
    tf.tidy(() => tf.all(tf.less(tf.abs(x), limit)).dataSync()[0] === 1);
  return (
    request.headDim * Math.abs(request.scale) < LARGEST_HEAD &&
    [q, k, v].every((x) => isBelow(x, LARGEST_FACTOR)) &&
    (relativeTable === undefined || isBelow(relativeTable, LARGEST_BIAS)) &&
    (bias === undefined || tf.tidy(() => tf.all(tf.less(bias, LARGEST_BIAS)).dataSync()[0] === 1))
  );
}
