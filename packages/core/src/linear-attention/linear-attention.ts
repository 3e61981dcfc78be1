import { custom } from '../autograd/custom.js';
import { TopKError } from '../contract/errors.js';
import type { LinearAttentionInputs } from '../contract/linear-attention.js';
import { runOperation } from '../operation/run.js';
import { commonBackend } from '../tensor/apply.js';
import { readOptions } from '../tensor/read-options.js';
import { requireTensor } from '../tensor/require-tensor.js';
import type { Tensor } from '../tensor/tensor.js';
import { linearAttentionOperation } from './definition.js';
import { type LinearAttentionOptions, type LinearAttentionState, linearKinds } from './options.js';
import { linearAttentionRequest } from './request.js';

/** The result of linear attention with `returnState`. */
export interface LinearAttentionResult {
  /** [B, Hq, Lq, Dv] */
  readonly output: Tensor;
  /** Sums over all keys, for the next call. Constants: a gradient that reaches them is NOT_DIFFERENTIABLE. */
  readonly state: LinearAttentionState;
}

/**
 * Attention whose weights are products of features: phi(q) (sum of phi(k) v^T) / (phi(q) sum of phi(k)). Time and memory
 * are linear in the lengths. Causal calls go through the keys in chunks: all pairs within a chunk, running sums for the
 * keys before it.
 *
 * queryFeatures [B, Hq, Lq, F], keyFeatures [B, Hkv, Lk, F], value [B, Hkv, Lk, Dv] -> [B, Hq, Lq, Dv]; Hq is a multiple of
 * Hkv. Hidden keys (mask, lengths, causality, a log scale of -inf) take no part, whatever they hold. A row without a key, or
 * whose divisor is 0, gives zeros. NaN or an infinity in a visible key or value reaches every query that sees it, as NaN or
 * an infinity, and so does a sum beyond f32. Everything given but mask and lengths has gradients.
 *
 * To decode, pass the `state` that a call with `returnState` returned: the next tokens then see all earlier keys.
 *
 * @throws TopKError SHAPE_MISMATCH, RANK_MISMATCH, DTYPE_MISMATCH, INVALID_OPTION, EMPTY_SEQUENCE, MIXED_BACKENDS,
 * DOES_NOT_FIT.
 *
 * @example
 * const features = relu(q);
 * const { output, state } = linearAttention(features, relu(k), v, { causal: true, returnState: true });
 * const next = linearAttention(features, relu(k), v, { causal: true, state });
 */
export function linearAttention(
  queryFeatures: Tensor,
  keyFeatures: Tensor,
  value: Tensor,
  options: LinearAttentionOptions & { readonly returnState: true },
): LinearAttentionResult;
export function linearAttention(
  queryFeatures: Tensor,
  keyFeatures: Tensor,
  value: Tensor,
  options?: LinearAttentionOptions & { readonly returnState?: false },
): Tensor;
export function linearAttention(
  queryFeatures: Tensor,
  keyFeatures: Tensor,
  value: Tensor,
  options?: LinearAttentionOptions,
): Tensor | LinearAttentionResult {
  const where = 'linearAttention';
  const given = readOptions(where, options, linearKinds);
  const { keyMask, keyLengths, keyLogScale, state } = given;
  for (const [name, one] of Object.entries({ queryFeatures, keyFeatures, value })) {
    requireTensor(where, name, one);
  }
  const inputs: LinearAttentionInputs<Tensor> = {
    ...{ queryFeatures, keyFeatures, value },
    ...(keyMask && { keyMask }),
    ...(keyLengths && { keyLengths }),
    ...(keyLogScale && { keyLogScale }),
    ...(state && { sumsBefore: state.sums, totalBefore: state.total }),
    ...(state?.logScale && { logScaleBefore: state.logScale }),
  };
  commonBackend(where, Object.values(inputs));
  const request = linearAttentionRequest(where, inputs, given);
  const wishes = { chunk: given.chunk, budgetBytes: given.budgetBytes };
  const made = runOperation(linearAttentionOperation, { where, request, inputs, wishes });
  made.denominators?.dispose();
  const { output, sums, total, logScale } = made;
  if (sums === undefined || total === undefined) return output;
  return {
    output,
    state: {
      sums: constantState(sums),
      total: constantState(total),
      ...(logScale && { logScale: constantState(logScale) }),
    },
  };
}

/** The state has no gradient: one that arrives must not vanish without a word. */
function constantState(made: Tensor): Tensor {
  const [state] = custom(
    'linearAttention.state',
    [made],
    () => ({ outputs: [made.alias()], saved: [] }),
    () => {
      throw new TopKError('NOT_DIFFERENTIABLE', 'linearAttention: the returned state has no gradient', {
        expected: 'a loss that uses the output only',
        got: 'one that uses the state, perhaps through a later call',
        fix: 'Differentiate one call over all tokens, or take the state out of the function that is differentiated',
      });
    },
  );
  made.dispose();
  return state as Tensor;
}
