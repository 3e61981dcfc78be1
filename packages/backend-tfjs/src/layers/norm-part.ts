import type { TfTensor } from '../tf.js';
import type { FullTf, LayerVariable } from './full-tf.js';
import type { AddWeight, WeightRecipe } from './weight-recipe.js';

export interface NormParts {
  /** [D] */
  readonly gamma: LayerVariable;
  /** [D] */
  readonly beta: LayerVariable;
}

/** For `weightRecipe`: scales and shifts begin as ones and zeros and are not regularised, as in Keras. */
export const normWords = { kernelInitializer: 'ones', biasInitializer: 'zeros' } as const;

export function addNormWeights(add: AddWeight, name: string, recipe: WeightRecipe, dim: number): NormParts {
  return { gamma: add(`${name}/gamma`, [dim], recipe.kernel), beta: add(`${name}/beta`, [dim], recipe.bias) };
}

/** Layer normalisation over the last axis. */
export function normalize(tf: FullTf, x: TfTensor, { gamma, beta }: NormParts, epsilon: number): TfTensor {
  const centred = tf.sub(x, tf.mean(x, -1, true));
  const variance = tf.mean(tf.square(centred), -1, true);
  const scaled = tf.mul(centred, tf.rsqrt(tf.add(variance, epsilon)));
  return tf.add(tf.mul(scaled, gamma.read()), beta.read());
}
