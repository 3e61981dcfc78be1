import { type Backend, TopKError } from '@topk-attention/core';
import {
  attentionFunctionOf,
  causalLuna,
  entmaxAttention,
  fastmax,
  relativeKernel,
  rfa,
  sbm,
  sigmoidAttention,
  simpleTron,
  soft,
  sparsefinder,
  trainableKernel,
} from '@topk-attention/mechanisms';
import type { AttentionFunction } from '@topk-attention/models';
import { exact, initialize, type Mechanism, type MechanismSizes, performer, topK } from '@topk-attention/nn';

/** Those that compute or estimate softmax, and those that refuse to stand in for it. */
export const crossMechanismNames = [
  'exact',
  'top-k',
  'performer',
  'rfa',
  'sigmoid',
  'fastmax',
  'trainable-kernel',
  'simpletron',
  'entmax',
  'sparsefinder',
  'sbm',
  'soft',
  'relative-kernel',
  'causal-luna',
] as const;

export type CrossMechanismName = (typeof crossMechanismNames)[number];

/** A mechanism in place of the model's cross-attention, untrained. Plain data. */
export interface CrossMechanism {
  readonly name: CrossMechanismName;
  /** Keys that each query keeps with top-k, features of Performer; always with those. */
  readonly size?: number;
  /** Of its random features; always with those that have any. */
  readonly seed?: number;
}

interface Facts {
  /** What its size counts. */
  readonly counts?: 'keys' | 'features';
  readonly isRandom?: true;
  readonly make: (size: number) => Mechanism;
}

const facts: { readonly [name in CrossMechanismName]: Facts } = {
  exact: { make: () => exact() },
  'top-k': { counts: 'keys', make: (k) => topK({ k }) },
  performer: {
    counts: 'features',
    isRandom: true,
    make: (features) => performer({ features, redrawEvery: 0 }),
  },
  rfa: { make: () => rfa() },
  sigmoid: { make: () => sigmoidAttention() },
  fastmax: { make: () => fastmax() },
  'trainable-kernel': { make: () => trainableKernel() },
  simpletron: { make: () => simpleTron() },
  entmax: { make: () => entmaxAttention() },
  sparsefinder: { make: () => sparsefinder() },
  sbm: { make: () => sbm() },
  soft: { make: () => soft() },
  'relative-kernel': { make: () => relativeKernel({ length: 1 }) },
  'causal-luna': { make: () => causalLuna() },
};

export function factsOf(name: CrossMechanismName): Facts {
  return facts[name];
}

/** Why a mechanism cannot stand in for softmax in a trained model; undefined if it can. */
export function refusalOf({ name, size = 1 }: CrossMechanism): string | undefined {
  try {
    attentionFunctionOf(facts[name].make(size), { trainedWith: 'softmax' });
    return undefined;
  } catch (error) {
    if (!(error instanceof TopKError) || error.code !== 'UNSUPPORTED') throw error;
    return error.fix ?? error.message;
  }
}

/**
 * The mechanism as the cross-attention of a model that was trained with softmax. Random features are drawn from its seed.
 *
 * @throws TopKError UNSUPPORTED with the reason, for one that does not estimate softmax
 */
export function crossAttentionOf(
  { name, size = 1, seed = 1 }: CrossMechanism,
  backend: Backend,
  sizes: MechanismSizes,
): AttentionFunction {
  const mechanism = facts[name].make(size);
  const parameters = mechanism.declare?.(sizes) ?? {};
  return attentionFunctionOf(mechanism, {
    trainedWith: 'softmax',
    parameters: initialize(backend, { parameters }, seed),
  });
}
