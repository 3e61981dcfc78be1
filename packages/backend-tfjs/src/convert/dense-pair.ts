import type { Activation } from '@topk-attention/core';
import type { ConvertOptions } from './options.js';
import type { Json, JsonObject, SavedLayer } from './saved-model.js';

/** Activations as Keras and tfjs name them, and as we do. */
const activations: { readonly [name: string]: Activation } = {
  relu: 'relu',
  gelu: 'gelu',
  gelu_new: 'gelu_tanh',
  swish: 'silu',
  silu: 'silu',
};

/** Must be equal in both layers, since both kernels of the new layer share one recipe. */
const recipe = ['kernel_regularizer', 'bias_regularizer', 'kernel_constraint', 'bias_constraint'] as const;

export function isDense(layer: SavedLayer): boolean {
  return layer.className === 'Dense';
}

/** Whether a dense layer could be the first of a feed-forward layer's two. */
export function isHiddenLayer(layer: SavedLayer): boolean {
  return isDense(layer) && activationOf(layer) !== 'linear';
}

/** Why two dense layers, the second applied to the first, cannot become a top-k feed-forward layer, if so. */
export function whyNoPair(first: SavedLayer, second: SavedLayer): string | undefined {
  if (!(activationOf(first) in activations)) {
    return `the activation ${activationOf(first)} is not one of ${Object.keys(activations).join(', ')}`;
  }
  if (activationOf(second) !== 'linear') return `the second layer has an activation, ${activationOf(second)}`;
  for (const { name, config } of [first, second]) {
    if (isThere(config.activity_regularizer)) return `${name} has an activity regularizer`;
    const { dtype = 'float32' } = config;
    if (isThere(dtype) && dtype !== 'float32') return `${name} is not float32`;
  }
  if (usesBias(first) !== usesBias(second)) return 'only one of the two has a bias';
  if (isTrainable(first) !== isTrainable(second)) return 'only one of the two is trainable';
  const differing = recipe.find((key) => text(first.config[key]) !== text(second.config[key]));
  return differing && `they differ in ${differing}`;
}

/** The feed-forward layer made from the two, named after the second so that the layers after it need not change. */
export function joinPair(
  first: SavedLayer,
  second: SavedLayer,
  { k, select = 'preactivation' }: NonNullable<ConvertOptions['feedForward']>,
): JsonObject {
  const { units, batch_input_shape: batchInputShape } = first.config;
  return {
    class_name: 'TopKFeedForward',
    ...(second.saved.name !== undefined && { name: second.name }),
    config: {
      name: second.name,
      trainable: isTrainable(second),
      ...(isThere(batchInputShape) && { batch_input_shape: batchInputShape }),
      hidden_units: units as Json,
      units: second.config.units as Json,
      k,
      activation: activations[activationOf(first)] as Activation,
      select,
      gated: false,
      use_bias: usesBias(second),
      // Weights are copied, so initialisers do not matter: those of the first layer serve both.
      kernel_initializer: first.config.kernel_initializer ?? null,
      bias_initializer: first.config.bias_initializer ?? null,
      ...Object.fromEntries(recipe.map((key) => [key, first.config[key] ?? null])),
    },
    ...(first.saved.inbound_nodes !== undefined && { inbound_nodes: first.saved.inbound_nodes }),
  };
}

function activationOf({ config: { activation } }: SavedLayer): string {
  if (typeof activation === 'string') return activation;
  return isThere(activation) ? text(activation) : 'linear';
}

function usesBias({ config: { use_bias: useBias } }: SavedLayer): boolean {
  return useBias !== false;
}

function isTrainable({ config: { trainable } }: SavedLayer): boolean {
  return trainable !== false;
}

function isThere(value: Json | undefined): value is Json {
  return value !== undefined && value !== null;
}

function text(value: Json | undefined): string {
  return JSON.stringify(value ?? null);
}
