import { TopKError } from '@topk-attention/core';
import type { Tf, TfTensor } from '../tf.js';

/**
 * Checks that all tensors belong to the caller's tf and live on the engine it runs; optional ones may be undefined. tf
 * would silently move data from another of its engines through the CPU, or fail where that requires waiting.
 */
export function requireTensors(
  tf: Tf,
  where: string,
  required: { readonly [role: string]: TfTensor },
  optional: { readonly [role: string]: TfTensor | undefined } = {},
): void {
  const engine = tf.engine();
  const given = Object.entries(optional).filter(
    (entry): entry is [string, TfTensor] => entry[1] !== undefined,
  );
  for (const [role, one] of [...Object.entries(required), ...given]) {
    if (!(one instanceof tf.Tensor)) {
      throw new TopKError('INVALID_OPTION', `${where}: ${role} is not a tf.Tensor`, {
        expected: 'a tf.Tensor',
        got: kindOf(one),
        fix: 'Make one with tf.tensor, or toTf of a tensor of this package',
      });
    }
    if (one.isDisposed) {
      throw new TopKError('DISPOSED', `${where}: ${role} is disposed`, {
        expected: 'a live tensor',
        got: `a disposed one of shape [${one.shape.join(', ')}]`,
        fix: 'Keep it: tf.keep, or return it from tf.tidy',
      });
    }
    const home = engine.state.tensorInfo.get(one.dataId)?.backend;
    if (home === tf.backend()) continue;
    const current = tf.getBackend();
    throw new TopKError('MIXED_BACKENDS', `${where}: ${role} does not live on the engine that tf runs on`, {
      expected: `a tensor on '${current}'`,
      got: home === undefined ? 'a tensor of another TensorFlow.js' : 'a tensor on another engine of this tf',
      fix: 'Read the values with data() and make a tensor of them with this tf on this engine',
    });
  }
}

function kindOf(value: unknown): string {
  if (Array.isArray(value)) return 'an array';
  if (value === null || typeof value !== 'object') return String(value);
  return `a ${value.constructor?.name ?? 'plain object'}`;
}
