import type { Backend } from '../contract/backend.js';
import type { DType } from '../contract/dtype.js';
import type { Shape } from '../contract/shape.js';
import { type Explanation, explainOperation } from '../operation/explain.js';
import type { OutputSpec } from '../tensor/apply.js';
import {
  aBoolean,
  aNumber,
  anArray,
  aTensor,
  either,
  type OptionKind,
  type OptionKinds,
  optionsWithin,
  readOptions,
  required,
} from '../tensor/read-options.js';
import { Tensor } from '../tensor/tensor.js';
import { attention } from './definition.js';
import { type AttentionOptions, type AttentionShapes, attentionKinds, shapeKinds } from './options.js';
import { type AttentionBackwardPlan, type AttentionPlan, attentionPlan, wishesOf } from './plan.js';
import { attentionRequest } from './request.js';

/** A tensor, or the shape of a tensor that need not exist yet. */
export type TensorOrShape = Tensor | Shape;

/** Options of `explain`: those of the call, with shapes in place of tensors that do not exist yet. */
export interface ExplainOptions
  extends Omit<AttentionOptions, 'mask' | 'keyLengths' | 'bias' | 'relativeBias'> {
  readonly mask?: TensorOrShape;
  readonly keyLengths?: TensorOrShape;
  readonly bias?: TensorOrShape;
  readonly relativeBias?: {
    readonly table: TensorOrShape;
    readonly bidirectional: boolean;
    readonly maxDistance: number;
  };
  /** Keys kept per query. Default: all of them, exact attention. */
  readonly k?: number;
  /** As for `exactAttention`. */
  readonly sigmoidShift?: number;
  /** Whether gradients are wanted. Default false. */
  readonly training?: boolean;
}

/** @internal */
export const tensorOrShape: OptionKind<TensorOrShape> = either<Tensor, Shape>(aTensor, anArray('a shape'));

const explainKinds: OptionKinds<ExplainOptions> = {
  ...attentionKinds,
  mask: tensorOrShape,
  keyLengths: tensorOrShape,
  bias: tensorOrShape,
  relativeBias: optionsWithin({
    table: required(tensorOrShape),
    bidirectional: required(aBoolean),
    maxDistance: required(aNumber),
  }),
  k: aNumber,
  sigmoidShift: aNumber,
  training: aBoolean,
};

/**
 * Which path an attention call of these shapes takes on a backend, why the others do not run, how the path describes
 * itself, and the plan with its bytes. Runs nothing. Leave `k` out for exact attention; `training` counts the lists
 * kept for the backward pass and explains that pass too. Masks, biases and tables may be given as shapes.
 *
 * @throws TopKError as the call itself would.
 *
 * @example
 * const shape = [1, 12, 512, 64];
 * const { path, plan } = explain(backend, { q: shape, k: shape, v: shape }, { k: 64, mask: [1, 1, 512, 512] });
 */
export function explain(
  backend: Backend,
  shapes: AttentionShapes,
  options?: ExplainOptions,
): Explanation<AttentionPlan, AttentionBackwardPlan> {
  const given = readOptions('explain', options, explainKinds);
  const where = given.k === undefined ? 'exactAttention' : 'topKAttention';
  const { q, k, v, dtype = 'f32' } = readOptions('explain: shapes', shapes, shapeKinds);
  const { mask, keyLengths, bias, relativeBias, training = false, ...plain } = given;
  const specs = {
    q: { shape: q, dtype },
    k: { shape: k, dtype },
    v: { shape: v, dtype },
    ...(mask && { mask: specOf(mask, 'bool') }),
    ...(keyLengths && { keyLengths: specOf(keyLengths, 'i32') }),
    ...(bias && { bias: specOf(bias, 'f32') }),
    ...(relativeBias && { relativeTable: specOf(relativeBias.table, 'f32') }),
  };
  const request = attentionRequest(
    where,
    specs,
    { ...plain, ...(relativeBias && { relativeBias }) },
    given.k ?? 'all',
  );
  const wishes = wishesOf(given);
  return explainOperation(attention, backend, { where, request, wishes, training, named: attentionPlan });
}

/** @internal */
export function specOf(given: TensorOrShape, dtype: DType): OutputSpec {
  return given instanceof Tensor ? given : { shape: given, dtype };
}
