import type { serialization } from '@tensorflow/tfjs-core';
import { TopKError } from '@topk-attention/core';
import { flag, given, type Unchecked } from './config.js';
import type { Constraint, FullTf, Initializer, LayerVariable, RecipeArgs, Regularizer } from './full-tf.js';
import type { KerasObject, KerasWeightArgs } from './layers-tf.js';

interface WeightParts {
  readonly initializer: Initializer;
  readonly regularizer?: Regularizer;
  readonly constraint?: Constraint;
}

/** How kernels and biases are created, and the config that says so in a saved model. */
export interface WeightRecipe {
  readonly useBias: boolean;
  readonly kernel: WeightParts;
  readonly bias: WeightParts;
  readonly config: serialization.ConfigDict;
}

/** A layer's own `addWeight`, which is protected in tfjs. */
export type AddWeight = (name: string, shape: number[], parts: WeightParts) => LayerVariable;

/** A kernel with its bias. */
export interface Linear {
  readonly kernel: LayerVariable;
  readonly bias?: LayerVariable;
}

const roles = [
  'kernelInitializer',
  'biasInitializer',
  'kernelRegularizer',
  'biasRegularizer',
  'kernelConstraint',
  'biasConstraint',
] as const;

/**
 * Turns names and saved forms into objects of the caller's tf. tfjs-layers does not export its look-up, so a dense
 * layer that is never built looks them up: it takes the same names, and serialises them.
 */
export function weightRecipe(tf: FullTf, where: string, args: Unchecked<KerasWeightArgs>): WeightRecipe {
  const dense = lookedUp(tf, where, {
    units: 1,
    kernelInitializer: saved(args.kernelInitializer) ?? 'glorotUniform',
    biasInitializer: saved(args.biasInitializer) ?? 'zeros',
    ...present('kernelRegularizer', saved(args.kernelRegularizer)),
    ...present('biasRegularizer', saved(args.biasRegularizer)),
    ...present('kernelConstraint', saved(args.kernelConstraint)),
    ...present('biasConstraint', saved(args.biasConstraint)),
  });
  const useBias = flag(where, 'useBias', args.useBias, true);
  const config = dense.getConfig();
  return {
    useBias,
    kernel: partsOf(dense, 'kernel'),
    bias: partsOf(dense, 'bias'),
    config: { useBias, ...Object.fromEntries(roles.map((role) => [role, config[role] ?? null])) },
  };
}

/** The variables of a kernel and its bias. */
export function partsOfLinear({ kernel, bias }: Linear): readonly LayerVariable[] {
  return bias === undefined ? [kernel] : [kernel, bias];
}

/** A kernel and, unless the recipe has none, a bias, named as Keras names those of a sub-layer. */
export function addLinear(
  add: AddWeight,
  name: string,
  recipe: WeightRecipe,
  kernel: number[],
  bias: number[],
): Linear {
  return {
    kernel: add(`${name}/kernel`, kernel, recipe.kernel),
    ...(recipe.useBias && { bias: add(`${name}/bias`, bias, recipe.bias) }),
  };
}

/** A copy of a saved form: tfjs modifies it while it reads it. */
function saved(given_: KerasObject | null | undefined): KerasObject | undefined {
  const one = given(given_);
  if (one === undefined || typeof one === 'string' || !('className' in one)) return one;
  return { className: one.className, config: { ...one.config } };
}

function present(role: (typeof roles)[number], one: KerasObject | undefined): Partial<RecipeArgs> {
  return one === undefined ? {} : { [role]: one };
}

function lookedUp(tf: FullTf, where: string, args: RecipeArgs): ReturnType<FullTf['layers']['dense']> {
  try {
    return tf.layers.dense(args);
  } catch (cause) {
    throw new TopKError('INVALID_OPTION', `${where}: bad initializer, regularizer or constraint`, {
      expected: "names tfjs knows, such as 'glorotUniform', or what tf.initializers, tf.regularizers make",
      got: cause instanceof Error ? cause.message : String(cause),
      fix: 'Register classes of your own with tf.serialization.registerClass first',
      cause,
    });
  }
}

function partsOf(dense: object, of: 'kernel' | 'bias'): WeightParts {
  const initializer: unknown = Reflect.get(dense, `${of}Initializer`);
  const regularizer: unknown = Reflect.get(dense, `${of}Regularizer`);
  const constraint: unknown = Reflect.get(dense, `${of}Constraint`);
  if (!applies<Initializer>(initializer)) {
    throw new TopKError('ENGINE_FAILURE', `topKLayers: tf.layers.dense keeps no ${of}Initializer`, {
      expected: 'tfjs-layers 4.22',
      got: typeof initializer,
      fix: 'Use @tensorflow/tfjs-layers ^4.22.0',
    });
  }
  return {
    initializer,
    ...(applies<Regularizer>(regularizer) && { regularizer }),
    ...(applies<Constraint>(constraint) && { constraint }),
  };
}

function applies<T extends { apply: unknown }>(one: unknown): one is T {
  return typeof one === 'object' && one !== null && 'apply' in one && typeof one.apply === 'function';
}
