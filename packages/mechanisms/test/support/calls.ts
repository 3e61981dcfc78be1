import type { Backend, DeviceLimits, Tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { contextOf, type MechanismCall, type MechanismOptions, type ParameterTree } from '@topk-attention/nn';

/** A call with the tensors `query`, `key` and `value`. @param own parameters of the mechanism */
export function callOf(
  given: ParameterTree,
  options: MechanismOptions,
  own: ParameterTree = {},
): MechanismCall {
  const { query, key, value } = given as Record<'query' | 'key' | 'value', Tensor>;
  return { context: contextOf(own), path: 'self', query, key, value, options };
}

/** A reference backend with some limits changed. */
export function withLimits(limits: Partial<DeviceLimits>): Backend {
  const { capabilities, ...rest } = createReferenceBackend();
  return { ...rest, capabilities: { ...capabilities, limits: { ...capabilities.limits, ...limits } } };
}
