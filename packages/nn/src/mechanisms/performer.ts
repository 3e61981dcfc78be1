import {
  aNumber,
  cast,
  describeValue,
  type LinearAttentionOptions,
  type LinearAttentionState,
  linearAttention,
  mul,
  type OptionKinds,
  oneOf,
  readOptions,
  reshape,
  scope,
  type Tensor,
  TopKError,
  where,
} from '@topk-attention/core';
import { parameterOf } from '../context.js';
import { requireWhole } from '../require.js';
import type { Mechanism, MechanismCall } from './mechanism.js';
import { orthogonalFeatures, reluFeatures, softmaxFeatures } from './random-features.js';
import { visibleKeys } from './visible-keys.js';

export interface PerformerOptions {
  /** Random features: more approximate softmax better, at a higher cost. Default 256. */
  readonly features?: number;
  /** 'softmax' estimates softmax attention, 'relu' is a different kernel. Default 'softmax'. */
  readonly kind?: 'softmax' | 'relu';
  /**
   * Added to every feature, of 'softmax' relative to the largest feature: of all keys, or of the key itself in causal
   * attention. Default 1e-3 for 'relu'; 1e-6 for 'softmax', but 0 for causal attention.
   */
  readonly epsilon?: number;
  /** Tokens per chunk. Default: planned. */
  readonly chunk?: number;
  /** Training steps after which `redraw` draws new features; 0 for never. Default 1000. */
  readonly redrawEvery?: number;
}

const kinds: OptionKinds<PerformerOptions> = {
  features: aNumber,
  kind: oneOf('softmax', 'relu'),
  epsilon: aNumber,
  chunk: aNumber,
  redrawEvery: aNumber,
};

/**
 * Linear-time attention: FAVOR+ from "Rethinking Attention with Performers" (Choromanski et al., 2021), with orthogonal
 * random features. The directions are a buffer `projection` [features, headDim], shared by all heads, saved with the
 * parameters and not trained. Supports causality, key lengths and decoding; masks, biases and dropout of weights need
 * the weights of all pairs and are UNSUPPORTED.
 *
 * @throws TopKError INVALID_OPTION
 *
 * @example
 * const layer = attentionLayer({ width: 64, heads: 4, mechanism: performer({ features: 128 }) });
 */
export function performer(options?: PerformerOptions): Mechanism {
  const {
    features = 256,
    kind = 'softmax',
    epsilon,
    chunk,
    redrawEvery = 1000,
  } = readOptions('performer', options, kinds);
  requireWhole('performer', 'features', features, 1);
  if (chunk !== undefined) requireWhole('performer', 'chunk', chunk, 1);
  requireWhole('performer', 'redrawEvery', redrawEvery, 0);
  if (epsilon !== undefined && !(epsilon >= 0 && epsilon < Number.POSITIVE_INFINITY)) {
    throw new TopKError('INVALID_OPTION', 'performer: bad epsilon', {
      expected: 'a finite number of at least 0',
      got: describeValue(epsilon),
    });
  }
  const isSoftmax = kind === 'softmax';
  const softmaxOf = softmaxFeatures(epsilon ?? 1e-6);
  const causalSoftmaxOf = softmaxFeatures(epsilon ?? 0);
  const reluOf = reluFeatures(epsilon ?? 1e-3);

  return {
    name: 'performer',
    takes: ['causal', 'keyLengths', 'groupedHeads', 'decoding'],
    ...(!isSoftmax && {
      refusals: {
        zeroShot: 'Its ReLU kernel does not estimate softmax: train the model with it from the start',
      },
    }),
    declare: ({ headDim }) => ({
      projection: {
        shape: [features, headDim],
        initializer: orthogonalFeatures,
        trainable: false,
        ...(redrawEvery > 0 && { redrawEvery }),
      },
    }),

    attend: (call) =>
      scope(() => {
        const causal = call.options.causal === true;
        const { query, key, value, options } = inputsOf(call, causal);
        return cast(linearAttention(query, key, value, { ...options, causal }), call.value.dtype);
      }),

    step: (call, state) =>
      scope(() => {
        const { query, key, value, options } = inputsOf(call, true);
        // The state's tensors are those of LinearAttentionState.
        const before = state?.tensors as LinearAttentionState | undefined;
        const made = linearAttention(query, key, value, {
          ...options,
          ...{ causal: true, returnState: true },
          ...(before && { state: before }),
        });
        const length = (state?.length ?? 0) + (value.shape[2] as number);
        return { output: cast(made.output, call.value.dtype), state: { length, tensors: { ...made.state } } };
      }),
  };

  /** Of softmax, features of keys are relative to the peak of all; in causal attention, to that of each. */
  function featuresOf(call: MechanismCall, causal: boolean): Features {
    const { query, key, directions } = scaledInputs(call);
    if (!isSoftmax) return { query: reluOf(query, directions), key: reluOf(key, directions) };
    const make = causal ? causalSoftmaxOf : softmaxOf;
    const ofQuery = make(query, directions, { axes: [3] });
    const ofKey = make(key, directions, { axes: causal ? [3] : [2, 3], visible: visibleKeys(call) });
    return {
      query: ofQuery.features,
      key: ofKey.features,
      ...(causal && { logScale: reshape(ofKey.largest, ofKey.largest.shape.slice(0, 3)) }),
    };
  }

  /** Features, values and options of linear attention, in f32: features and their sums exceed f16. */
  function inputsOf(call: MechanismCall, causal: boolean): LinearInputs {
    const { keyLengths } = call.options;
    const { budgetBytes } = call.context;
    const made = featuresOf(call, causal);
    return {
      query: made.query,
      key: made.key,
      value: cast(call.value, 'f32'),
      options: {
        ...(keyLengths && { keyLengths }),
        ...(made.logScale && { keyLogScale: made.logScale }),
        ...(chunk !== undefined && { chunk }),
        ...(budgetBytes !== undefined && { budgetBytes }),
      },
    };
  }
}

interface LinearInputs {
  readonly query: Tensor;
  readonly key: Tensor;
  readonly value: Tensor;
  readonly options: Omit<LinearAttentionOptions, 'causal' | 'state' | 'returnState'>;
}

interface Features {
  readonly query: Tensor;
  readonly key: Tensor;
  /** [B, keyValueHeads, Lk], a constant: the features of a key are exp of it times `key`. Absent: they are `key`. */
  readonly logScale?: Tensor;
}

/** Queries and keys whose plain products are the scaled scores, in f32: features and their sums exceed f16. */
function scaledInputs(call: MechanismCall): Features & { directions: Tensor } {
  const { context, query, key, options } = call;
  const scale = options.scale ?? (query.shape[3] as number) ** -0.5;
  const root = Math.sqrt(Math.abs(scale));
  return {
    query: mul(cast(query, 'f32'), Math.sign(scale) * root),
    key: mul(hideKeys(call, cast(key, 'f32')), root),
    directions: cast(parameterOf(context, 'projection'), 'f32'),
  };
}

/** x [B, keyValueHeads, Lk, D] with zeros at padding keys, which may be NaN: no gradient may see that. */
function hideKeys(call: MechanismCall, x: Tensor): Tensor {
  const visible = visibleKeys(call);
  return visible === undefined ? x : where(visible, x, 0);
}
