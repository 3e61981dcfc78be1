import type { serialization } from '@tensorflow/tfjs-core';
import type { Activation, FeedForwardSelect } from '@topk-attention/core';
import { topKFeedForward } from '../functional/feed-forward.js';
import type { TfTensor } from '../tf.js';
import { count, flag, given, kept, oneOf, type Unchecked } from './config.js';
import { emptyOutput, isEmpty } from './empty-output.js';
import type { FullTf } from './full-tf.js';
import { requireDim } from './inputs.js';
import type { KerasWeightArgs } from './layers-tf.js';
import { type AddWeight, addLinear, type Linear, partsOfLinear, type WeightRecipe } from './weight-recipe.js';

/** A feed-forward layer: act(x wIn + bIn) [* (x wGate)] wOut + bOut with k hidden units per token. */
export interface FeedForwardArgs extends KerasWeightArgs {
  readonly hiddenUnits: number;
  /** Last dim of the output. Default: that of the input. */
  readonly units?: number;
  /** Hidden units kept per token; hiddenUnits or more keeps them all. */
  readonly k: number;
  /** Default 'relu'. */
  readonly activation?: Activation;
  /** The value that ranks the hidden units, as in core's `topKFeedForward`. Default 'preactivation'. */
  readonly select?: FeedForwardSelect;
  /** Multiplies the activations by a second projection without a bias, as in T5 v1.1. Default false. */
  readonly gated?: boolean;
}

export interface FeedForwardSettings {
  readonly hiddenUnits: number;
  readonly units: number | undefined;
  readonly k: number;
  readonly activation: Activation;
  readonly select: FeedForwardSelect;
  readonly gated: boolean;
}

export interface FeedForwardParts {
  /** [D, F] */
  readonly intermediate: Linear;
  /** [D, F] */
  readonly gate?: Linear;
  /** [F, units] */
  readonly output: Linear;
}

const activations: readonly Activation[] = ['relu', 'gelu', 'gelu_tanh', 'silu'];
const selects: readonly FeedForwardSelect[] = ['preactivation', 'contribution'];

/** Checks a config. Errors call k `nameOfK`. */
export function feedForwardSettings(
  where: string,
  args: Unchecked<FeedForwardArgs>,
  nameOfK: string,
): FeedForwardSettings {
  const units = given(args.units);
  return {
    hiddenUnits: count(where, 'hiddenUnits', args.hiddenUnits),
    units: units === undefined ? undefined : count(where, 'units', units),
    k: kept(where, nameOfK, args.k),
    activation: activationOf(where, args.activation),
    select: oneOf(where, 'select', selects, given(args.select) ?? 'preactivation'),
    gated: flag(where, 'gated', args.gated, false),
  };
}

/**
 * The activation by its name. tfjs reads a saved model's strings in camel case: 'gelu_tanh' comes back as 'geluTanh'.
 */
function activationOf(where: string, name: string | null | undefined): Activation {
  return oneOf(where, 'activation', activations, name === 'geluTanh' ? 'gelu_tanh' : (name ?? 'relu'));
}

/** The settings as a model's JSON holds them. */
export function feedForwardConfig(settings: FeedForwardSettings): serialization.ConfigDict {
  return { ...settings, units: settings.units ?? null };
}

export function addFeedForwardWeights(
  add: AddWeight,
  names: { readonly intermediate: string; readonly gate: string; readonly output: string },
  recipe: WeightRecipe,
  settings: FeedForwardSettings,
  inputDim: number,
): FeedForwardParts {
  const { hiddenUnits, units = inputDim } = settings;
  return {
    intermediate: addLinear(add, names.intermediate, recipe, [inputDim, hiddenUnits], [hiddenUnits]),
    ...(settings.gated && {
      gate: addLinear(add, names.gate, { ...recipe, useBias: false }, [inputDim, hiddenUnits], [hiddenUnits]),
    }),
    output: addLinear(add, names.output, recipe, [hiddenUnits, units], [units]),
  };
}

/** [..., D] -> [..., units] */
export function feedForward(
  tf: FullTf,
  where: string,
  settings: FeedForwardSettings,
  parts: FeedForwardParts,
  x: TfTensor,
): TfTensor {
  const { intermediate, gate, output } = parts;
  requireDim(where, 'the input', x, intermediate.kernel.shape[0] as number, 'any');
  const { k, activation, select, units } = settings;
  if (isEmpty(x.shape)) {
    const all = [intermediate, ...(gate ? [gate] : []), output].flatMap(partsOfLinear);
    return emptyOutput(tf, [...x.shape.slice(0, -1), units ?? (x.shape.at(-1) as number)], [x], all);
  }
  const read = ({ kernel }: Linear): TfTensor => here(tf, kernel.read());
  return topKFeedForward(
    tf,
    here(tf, x),
    {
      wIn: read(intermediate),
      ...(intermediate.bias && { bIn: here(tf, intermediate.bias.read()) }),
      ...(gate && { wGate: read(gate) }),
      wOut: read(output),
      ...(output.bias && { bOut: here(tf, output.bias.read()) }),
    },
    { k, activation, select },
  );
}

/**
 * The same tensor on the current engine. After an engine change, tf moves a model's weights op by op, but this
 * package's functions refuse to move data. Reshaping moves the tensor, and copies nothing if there is nothing to move.
 */
function here(tf: FullTf, one: TfTensor): TfTensor {
  return tf.reshape(one, one.shape);
}
