import {
  aBoolean,
  aNumber,
  cast,
  concat,
  linear,
  mul,
  neg,
  type OptionKinds,
  oneOf,
  readOptions,
  relu,
  reshape,
  scope,
  sigmoid,
  type Tensor,
  TopKError,
  transpose,
} from '@topk-attention/core';
import {
  initializers,
  type Mechanism,
  type MechanismCall,
  type MechanismState,
  type MechanismStep,
  parameterOf,
} from '@topk-attention/nn';
import { byKeyHead, perHead, unit } from './features.js';
import { type GatedInputs, gatedAttention } from './gated-sums.js';
import { requireNumber, requireWhole, shown } from './inputs.js';
import { attendLinearly, type Features, type LinearSettings, stepLinearly } from './linear.js';
import { noPairs } from './refusals.js';
import { sinCos } from './sin-cos.js';
import { softplus } from './softplus.js';

export interface RfaOptions {
  /** Width of the feature map. Even for 'gaussian', which has a sine and a cosine per direction. Default 128. */
  readonly features?: number;
  /**
   * 'gaussian' estimates softmax of unit queries and keys; 'arc-cosine' is a kernel of its own, never negative. Default
   * 'gaussian'.
   */
  readonly kernel?: 'gaussian' | 'arc-cosine';
  /** Whether a learned gate per head forgets earlier tokens: RFA-Gate, for causal layers only. Default false. */
  readonly gate?: boolean;
  /**
   * Smallest denominator: that of sines and cosines may come out at 0 or below. Default 0.1, less than the weight of one
   * key, exp(-2); with a gate 0.001, because gates make weights small.
   */
  readonly floor?: number;
  /** Tokens per chunk of the sums. Default: planned. With a gate at most so many, by default 64. */
  readonly chunk?: number;
  /** Training steps after which `redraw` draws new directions; 0 for never. Default 1, as published. */
  readonly redrawEvery?: number;
}

const kinds: OptionKinds<RfaOptions> = {
  features: aNumber,
  kernel: oneOf('gaussian', 'arc-cosine'),
  gate: aBoolean,
  floor: aNumber,
  chunk: aNumber,
  redrawEvery: aNumber,
};

/**
 * Random feature attention (Peng et al., 2021): linear attention by random Fourier features of unit queries and keys, with
 * a learned bandwidth, and on demand the gate g = sigmoid(w . x + b) of the layer's input: sums S become
 * g S + (1 - g) phi(k) v^T. Directions are a buffer `directions` [keyValueHeads, r, headDim]; `bandwidth`
 * [keyValueHeads, headDim] and `gate.*` are trained. A layer's `scale` multiplies the product of unit vectors.
 * A token of zeros stays zeros, with a gradient 1e6 times that of its unit vector.
 *
 * @throws TopKError INVALID_OPTION; when applied, UNSUPPORTED for a gate in a layer that is not causal.
 *
 * @example
 * const layer = attentionLayer({ width: 64, heads: 4, causal: true, mechanism: rfa({ features: 64, gate: true }) });
 */
export function rfa(options?: RfaOptions): Mechanism {
  const {
    features = 128,
    kernel = 'gaussian',
    gate = false,
    floor = gate ? 1e-3 : 0.1,
    chunk,
    redrawEvery = 1,
  } = readOptions('rfa', options, kinds);
  requireWhole('rfa', 'features', features, 1);
  if (chunk !== undefined) requireWhole('rfa', 'chunk', chunk, 1);
  requireWhole('rfa', 'redrawEvery', redrawEvery, 0);
  requireNumber('rfa', 'floor', floor, 'positive');
  if (kernel === 'gaussian' && features % 2 !== 0) {
    throw new TopKError('INVALID_OPTION', 'rfa: an odd number of features', {
      expected: 'an even one: each direction has a sine and a cosine',
      got: String(features),
    });
  }
  const rows = kernel === 'gaussian' ? features / 2 : features;
  const waves = sinCos(rows ** -0.5);
  const name = gate ? 'gated random feature' : 'random feature';

  const featuresOf = (call: MechanismCall): Features => {
    const keyHeads = call.key.shape[1] as number;
    // A factor of the features that is one of the directions costs no pass over the features.
    const isWave = kernel === 'gaussian';
    const directions = directionsOf(call, isWave ? 1 : rows ** -0.5);
    const mapped = (x: Tensor): Tensor => {
      const projected = perHead(unit(x), directions);
      if (!isWave) return relu(projected);
      const { sine, cosine } = waves(projected);
      return concat([sine, cosine], 3);
    };
    const queryShape = [...call.query.shape.slice(0, 3), features];
    return {
      query: reshape(mapped(byKeyHead(cast(call.query, 'f32'), keyHeads)), queryShape),
      // Hidden keys may be NaN, and their gradient is 0 times that.
      key: mapped(shown(call, call.key)),
    };
  };
  const settings: LinearSettings = { leastDenominator: floor, ...(chunk !== undefined && { chunk }) };
  const gated = (call: MechanismCall, state?: Tensor) => {
    const inputs = { ...featuresOf(call), value: shown(call, call.value), ...gatesOf(call) };
    return gatedAttention(inputs, { chunk: chunk ?? 64, floor }, state);
  };
  const attend = (call: MechanismCall): Tensor => {
    if (!gate) return attendLinearly(call, featuresOf(call), settings);
    if (call.options.causal === true) return gated(call).output;
    throw new TopKError('UNSUPPORTED', 'rfa: a gate needs a causal layer', {
      expected: 'causal: true',
      got: 'a layer whose tokens see later ones',
      fix: 'Its gates forget the tokens before: leave gate out for attention in both directions',
    });
  };
  const step = (call: MechanismCall, state: MechanismState | undefined): MechanismStep => {
    if (!gate) return stepLinearly(call, state, featuresOf(call), settings);
    const { output, state: sums } = gated(call, state?.tensors.sums);
    const length = (state?.length ?? 0) + (call.key.shape[2] as number);
    return { output, state: { length, tensors: { sums } } };
  };

  return {
    name,
    takes: ['causal', 'keyLengths', 'groupedHeads', 'decoding'],
    refusals: {
      ...noPairs,
      source: 'Its gates are those of the tokens that it attends to, which only self-attention has',
      zeroShot:
        'It sees unit queries and keys, where softmax sees their lengths too: train the model with it',
    },
    ...(gate && { self: 'only' as const }),
    declare: ({ width, keyValueHeads, headDim }) => ({
      directions: {
        shape: [keyValueHeads, rows, headDim],
        initializer: initializers.normal(),
        trainable: false,
        ...(redrawEvery > 0 && { redrawEvery }),
      },
      bandwidth: { shape: [keyValueHeads, headDim], initializer: initializers.ones },
      ...(gate && {
        'gate.weight': { shape: [keyValueHeads, width], initializer: initializers.uniform(width ** -0.5) },
        'gate.bias': { shape: [keyValueHeads], initializer: initializers.zeros },
      }),
    }),
    attend: (call) => scope(() => cast(attend(call), call.value.dtype)),
    step: (call, state) =>
      scope(() => {
        const made = step(call, state);
        return { ...made, output: cast(made.output, call.value.dtype) };
      }),
  };
}

/** [keyValueHeads, r, headDim]: random directions times the learned bandwidth and a factor. */
function directionsOf({ context, options: { scale = 1 } }: MechanismCall, factor: number): Tensor {
  requireNumber('rfa', 'scale', scale, 'positive');
  const directions = cast(parameterOf(context, 'directions'), 'f32');
  const bandwidth = cast(parameterOf(context, 'bandwidth'), 'f32');
  const [heads, width] = bandwidth.shape as readonly [number, number];
  return mul(directions, mul(reshape(bandwidth, [heads, 1, width]), factor * Math.sqrt(scale)));
}

/** log g, and 1 - g as weights of keys: [B, keyValueHeads, L, 1]. A hidden token adds nothing and forgets nothing. */
function gatesOf(call: MechanismCall): Pick<GatedInputs, 'logGates' | 'weights'> {
  const { context, input } = call;
  if (input === undefined) {
    throw new TopKError('INVALID_OPTION', 'rfa: a gate needs the input of the layer', {
      expected: 'input in the call, as attentionLayer passes it',
      got: 'none',
    });
  }
  const weight = cast(parameterOf(context, 'gate.weight'), 'f32');
  const bias = cast(parameterOf(context, 'gate.bias'), 'f32');
  const logits = linear(cast(input, 'f32'), weight, bias, { transposeWeight: true });
  const [batch, length, heads] = logits.shape as readonly [number, number, number];
  const turned = reshape(transpose(logits, [0, 2, 1]), [batch, heads, length, 1]);
  return {
    logGates: shown(call, neg(softplus(neg(turned)))),
    weights: shown(call, sigmoid(neg(turned))),
  };
}
