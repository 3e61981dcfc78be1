import { specOf, type TensorOrShape, tensorOrShape } from '../attention/explain.js';
import type { Backend } from '../contract/backend.js';
import { type Explanation, explainOperation } from '../operation/explain.js';
import type { Plan } from '../operation/plan.js';
import { aBoolean, type OptionKinds, readOptions } from '../tensor/read-options.js';
import { linearAttentionOperation } from './definition.js';
import {
  type LinearAttentionOptions,
  type LinearAttentionShapes,
  linearKinds,
  linearShapeKinds,
} from './options.js';
import { linearAttentionRequest } from './request.js';

/** Options of `explainLinearAttention`: those of the call, with shapes in place of tensors that do not exist yet. */
export interface ExplainLinearAttentionOptions
  extends Omit<LinearAttentionOptions, 'keyMask' | 'keyLengths' | 'keyLogScale' | 'state'> {
  readonly keyMask?: TensorOrShape;
  readonly keyLengths?: TensorOrShape;
  readonly keyLogScale?: TensorOrShape;
  /** Whether the call continues with a state. Default false. */
  readonly state?: boolean;
  /** Whether gradients are wanted. Default false. */
  readonly training?: boolean;
}

const kinds: OptionKinds<ExplainLinearAttentionOptions> = {
  ...linearKinds,
  keyMask: tensorOrShape,
  keyLengths: tensorOrShape,
  keyLogScale: tensorOrShape,
  state: aBoolean,
  training: aBoolean,
};

/**
 * As `explain`, for `linearAttention`: the path, why others do not run, and the plan with its bytes. Runs nothing.
 *
 * @throws TopKError as the call itself would.
 *
 * @example
 * const wide = [1, 8, 4096, 256];
 * const shapes = { queryFeatures: wide, keyFeatures: wide, value: [1, 8, 4096, 64] };
 * const { plan } = explainLinearAttention(backend, shapes, { causal: true });
 */
export function explainLinearAttention(
  backend: Backend,
  shapes: LinearAttentionShapes,
  options?: ExplainLinearAttentionOptions,
): Explanation<Plan> {
  const given = readOptions('explainLinearAttention', options, kinds);
  const read = readOptions('explainLinearAttention: shapes', shapes, linearShapeKinds);
  const { queryFeatures, keyFeatures, value, dtype = 'f32' } = read;
  const { keyMask, keyLengths, keyLogScale, state = false, training = false, ...plain } = given;
  const [batch = 0, heads = 0, , width = 0] = keyFeatures;
  const f32 = (...shape: number[]) => ({ shape, dtype: 'f32' }) as const;
  const specs = {
    queryFeatures: { shape: queryFeatures, dtype },
    keyFeatures: { shape: keyFeatures, dtype },
    value: { shape: value, dtype },
    ...(keyMask && { keyMask: specOf(keyMask, 'bool') }),
    ...(keyLengths && { keyLengths: specOf(keyLengths, 'i32') }),
    ...(keyLogScale && { keyLogScale: specOf(keyLogScale, 'f32') }),
    ...(state && {
      sumsBefore: f32(batch, heads, width, value[3] ?? 0),
      totalBefore: f32(batch, heads, width),
      ...(keyLogScale && { logScaleBefore: f32(batch, heads) }),
    }),
  };
  const where = 'linearAttention';
  return explainOperation(linearAttentionOperation, backend, {
    where,
    request: linearAttentionRequest(where, specs, plain),
    wishes: { chunk: given.chunk, budgetBytes: given.budgetBytes },
    training,
    named: (plan) => plan,
  });
}
