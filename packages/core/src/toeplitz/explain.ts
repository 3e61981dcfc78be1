import type { Backend } from '../contract/backend.js';
import type { Shape } from '../contract/shape.js';
import { type Explanation, explainOperation } from '../operation/explain.js';
import type { Plan } from '../operation/plan.js';
import {
  aBoolean,
  aNumber,
  anArray,
  type OptionKinds,
  oneOf,
  readOptions,
  required,
} from '../tensor/read-options.js';
import { toeplitzProductOperation } from './definition.js';
import { toeplitzProductRequest } from './request.js';

/** Shapes alone. */
export interface ToeplitzProductShapes {
  /** [H, 2 n - 1] */
  readonly factors: Shape;
  /** [B, H, n, C] */
  readonly x: Shape;
  /** Storage type of both. Default 'f32'. */
  readonly dtype?: 'f32' | 'f16';
}

export interface ExplainToeplitzProductOptions {
  /** Whether gradients are wanted. Default false. */
  readonly training?: boolean;
  /** Upper bound for everything but the inputs: a call that needs more is refused. Default: none. */
  readonly budgetBytes?: number;
}

const shapeKinds: OptionKinds<ToeplitzProductShapes> = {
  factors: required(anArray()),
  x: required(anArray()),
  dtype: oneOf('f32', 'f16'),
};
const kinds: OptionKinds<ExplainToeplitzProductOptions> = { training: aBoolean, budgetBytes: aNumber };

/**
 * As `explain`, for `toeplitzProduct`: the path, why others do not run, and the bytes. Runs nothing.
 *
 * @throws TopKError as the call itself would.
 *
 * @example
 * const { path, plan } = explainToeplitzProduct(backend, { factors: [8, 2047], x: [1, 8, 1024, 64] });
 */
export function explainToeplitzProduct(
  backend: Backend,
  shapes: ToeplitzProductShapes,
  options?: ExplainToeplitzProductOptions,
): Explanation<Plan> {
  const { training = false, budgetBytes } = readOptions('explainToeplitzProduct', options, kinds);
  const { factors, x, dtype = 'f32' } = readOptions('explainToeplitzProduct: shapes', shapes, shapeKinds);
  const where = 'toeplitzProduct';
  return explainOperation(toeplitzProductOperation, backend, {
    where,
    request: toeplitzProductRequest(where, { factors: { shape: factors, dtype }, x: { shape: x, dtype } }),
    wishes: { budgetBytes },
    training,
    named: (plan) => plan,
  });
}
