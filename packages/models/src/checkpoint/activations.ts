import type { Activation } from '@topk-attention/core';

/** Activations by the names that a config.json gives them. */
const activations: { readonly [name: string]: Activation } = {
  relu: 'relu',
  gelu: 'gelu',
  gelu_python: 'gelu',
  gelu_new: 'gelu_tanh',
  gelu_fast: 'gelu_tanh',
  gelu_pytorch_tanh: 'gelu_tanh',
  silu: 'silu',
  swish: 'silu',
};

/** The names that `activationOf` knows, for messages. */
export const activationNames: string = Object.keys(activations).join(', ');

/** The activation that a config.json means by a name; undefined for any other. */
export function activationOf(name: unknown): Activation | undefined {
  return typeof name === 'string' && Object.hasOwn(activations, name) ? activations[name] : undefined;
}
