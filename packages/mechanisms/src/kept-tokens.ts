import type { Tensor } from '@topk-attention/core';
import { concat, scope } from '@topk-attention/core';
import type { MechanismCall, MechanismState, MechanismStep } from '@topk-attention/nn';

/** Causal decoding of a mechanism without a smaller state: keys and values of all tokens so far are kept. */
export function stepWithKeys(
  call: MechanismCall,
  state: MechanismState | undefined,
  attend: (call: MechanismCall) => Tensor,
): MechanismStep {
  return scope(() => {
    const { keys, values } = state?.tensors ?? {};
    const key = keys === undefined ? call.key.alias() : concat([keys, call.key], 2);
    const value = values === undefined ? call.value.alias() : concat([values, call.value], 2);
    const output = attend({ ...call, key, value, options: { ...call.options, causal: true } });
    return { output, state: { length: key.shape[2] as number, tensors: { keys: key, values: value } } };
  });
}
