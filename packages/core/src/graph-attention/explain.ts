import { specOf, type TensorOrShape, tensorOrShape } from '../attention/explain.js';
import { type AttentionPlan, attentionPlan, wishesOf } from '../attention/plan.js';
import type { Backend } from '../contract/backend.js';
import { type Explanation, explainOperation } from '../operation/explain.js';
import { aBoolean, type OptionKinds, readOptions } from '../tensor/read-options.js';
import { graphAttentionOperation } from './definition.js';
import {
  type GraphAttentionOptions,
  type GraphAttentionShapes,
  graphKinds,
  graphShapeKinds,
} from './options.js';
import { graphAttentionRequest } from './request.js';

/** Options of `explainGraphAttention`: those of the call, with shapes in place of tensors that do not exist yet. */
export interface ExplainGraphAttentionOptions
  extends Omit<GraphAttentionOptions, 'keyMask' | 'keyLengths' | 'bias'> {
  readonly keyMask?: TensorOrShape;
  readonly keyLengths?: TensorOrShape;
  readonly bias?: TensorOrShape;
  /** Whether gradients are wanted. Default false. */
  readonly training?: boolean;
}

const kinds: OptionKinds<ExplainGraphAttentionOptions> = {
  ...graphKinds,
  keyMask: tensorOrShape,
  keyLengths: tensorOrShape,
  bias: tensorOrShape,
  training: aBoolean,
};

/**
 * As `explain`, for `graphAttention`: the path, why others do not run, and the plan with its bytes. Runs nothing.
 *
 * @throws TopKError as the call itself would.
 *
 * @example
 * const long = [1, 8, 4096, 64];
 * const { plan } = explainGraphAttention(backend, { q: long, k: long, v: long, graph: [1, 1, 4096, 32] });
 */
export function explainGraphAttention(
  backend: Backend,
  shapes: GraphAttentionShapes,
  options?: ExplainGraphAttentionOptions,
): Explanation<AttentionPlan> {
  const given = readOptions('explainGraphAttention', options, kinds);
  const {
    q,
    k,
    v,
    graph,
    dtype = 'f32',
  } = readOptions('explainGraphAttention: shapes', shapes, graphShapeKinds);
  const { keyMask, keyLengths, bias, training = false, ...plain } = given;
  const specs = {
    q: { shape: q, dtype },
    k: { shape: k, dtype },
    v: { shape: v, dtype },
    graph: { shape: graph, dtype: 'i32' as const },
    ...(keyMask && { keyMask: specOf(keyMask, 'bool') }),
    ...(keyLengths && { keyLengths: specOf(keyLengths, 'i32') }),
    ...(bias && { bias: specOf(bias, 'f32') }),
  };
  const where = 'graphAttention';
  return explainOperation(graphAttentionOperation, backend, {
    where,
    request: graphAttentionRequest(where, specs, plain),
    wishes: wishesOf(given),
    training,
    named: attentionPlan,
  });
}
