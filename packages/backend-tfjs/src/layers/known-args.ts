import { checkedLater, readOptions } from '@topk-attention/core';
import type { KerasLayerArgs, KerasWeightArgs } from './layers-tf.js';

/** Every name of a config, so that none can be forgotten. */
type Names<Args> = { readonly [Name in keyof Required<Args>]: true };

/** What tfjs's own `Layer` takes, and what saved models hold beside it. */
const layerNames: Names<KerasLayerArgs> & Readonly<Record<string, true>> = {
  name: true,
  trainable: true,
  inputShape: true,
  batchInputShape: true,
  batchSize: true,
  dtype: true,
  weights: true,
  inputDType: true,
  updatable: true,
  // tfjs adds it when it builds a layer from its saved form.
  customObjects: true,
};

const weightNames: Names<KerasWeightArgs> = {
  useBias: true,
  kernelInitializer: true,
  biasInitializer: true,
  kernelRegularizer: true,
  biasRegularizer: true,
  kernelConstraint: true,
  biasConstraint: true,
};

/**
 * Throws INVALID_OPTION for a config with a name that the layer does not know. What the names hold is checked where it is
 * used: a saved model has null for what was not given.
 */
export function requireKnown<Args extends KerasLayerArgs & KerasWeightArgs>(
  where: string,
  args: Args,
  own: Names<Omit<Args, keyof KerasLayerArgs | keyof KerasWeightArgs>>,
): void {
  const names = Object.keys({ ...own, ...weightNames, ...layerNames });
  const kinds = Object.fromEntries(names.map((name) => [name, checkedLater<unknown>()]));
  const config: object = args;
  readOptions(where, config as Readonly<Record<string, unknown>>, kinds);
}
