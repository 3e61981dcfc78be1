import { TopKError } from '@topk-attention/core';
import {
  causalLuna,
  convLunaBlock,
  entmaxAttention,
  fastmax,
  lunaBlock,
  relativeKernel,
  rfa,
  sbm,
  sigmoidAttention,
  simpleTron,
  soft,
  sparsefinder,
  type TwoStreamBlock,
  trainableKernel,
} from '@topk-attention/mechanisms';
import { exact, type Mechanism, performer, topK } from '@topk-attention/nn';
import {
  type MechanismName,
  type MechanismOption,
  type MechanismSettings,
  mechanismNames,
  usual,
} from './settings.js';

/** A mechanism of the command line. */
export interface MechanismFacts {
  /** For lists of mechanisms. */
  readonly about: string;
  /** Options that its settings hold; `redraw` only if given. */
  readonly options: readonly MechanismOption[];
  /** Whether it works in causal layers alone, so that its classifiers are causal. */
  readonly isCausal?: true;
  /** Whether it sees where tokens stand, so that tokens that do not count cannot be moved to the end. */
  readonly seesOrder?: true;
  /** @param tokens of a document, with its class token */
  readonly make?: (settings: NeededSettings, tokens: number) => Mechanism;
  /** In place of `make`: a block of the encoder, beside whose text a memory travels. */
  readonly block?: (sizes: BlockSizes) => TwoStreamBlock;
  /** Beside `block`: deviation of the memory's first values. Default: Luna's. */
  readonly memoryDeviation?: number;
}

type NeededSettings = Required<Pick<MechanismSettings, MechanismOption>>;

/** Of a block of the encoder. */
interface BlockSizes {
  readonly width: number;
  readonly heads: number;
  readonly hidden: number;
  readonly dropout: number;
}

/** All mechanisms that can be trained. */
export const mechanisms: { readonly [name in MechanismName]: MechanismFacts } = {
  exact: { about: 'softmax over all keys', options: [], make: () => exact() },
  'top-k': { about: 'softmax over the k largest scores', options: ['k'], make: ({ k }) => topK({ k }) },
  performer: {
    about: 'softmax estimated by random features',
    options: ['features', 'redraw'],
    make: ({ features, redraw }) => performer({ features, kind: 'softmax', redrawEvery: redraw }),
  },
  'performer-relu': {
    about: 'the same with the ReLU kernel',
    options: ['features', 'redraw'],
    make: ({ features, redraw }) => performer({ features, kind: 'relu', redrawEvery: redraw }),
  },
  rfa: {
    about: 'softmax of unit vectors, estimated by sines and cosines',
    options: ['features', 'redraw'],
    make: ({ features, redraw }) => rfa({ features, redrawEvery: redraw }),
  },
  'rfa-gate': {
    about: 'the same with a gate that forgets; its classifiers are causal',
    options: ['features', 'redraw'],
    isCausal: true,
    seesOrder: true,
    make: ({ features, redraw }) => rfa({ features, redrawEvery: redraw, gate: true }),
  },
  sigmoid: {
    about: 'a sigmoid of each score less log n, no sum',
    options: [],
    make: () => sigmoidAttention(),
  },
  fastmax: { about: '1 + s + s^2 / 2 of each score s, over their sum', options: [], make: () => fastmax() },
  'fastmax-1': {
    about: '1 + s of each score s, over their sum',
    options: [],
    make: () => fastmax({ order: 1 }),
  },
  'trainable-kernel': {
    about: 'linear attention by a learned, orthogonal feature map',
    options: [],
    make: () => trainableKernel({ orthogonal: true, penalty: 0.01 }),
  },
  entmax: {
    about: 'entmax, which is 0 for most keys, over all keys',
    options: [],
    make: () => entmaxAttention(),
  },
  sparsefinder: {
    about: 'the same, after training over a predicted graph of at most k keys',
    seesOrder: true,
    options: ['k'],
    // From 4 keys on at least half are left to the prediction.
    make: ({ k }) =>
      sparsefinder({ edges: k, window: Math.min(3, Math.floor(k / 8)), first: Math.min(1, k - 1) }),
  },
  sbm: {
    about: 'softmax over a random, learned graph of at most k keys',
    options: ['k'],
    make: ({ k }) => sbm({ edges: k }),
  },
  soft: {
    about: 'a Gaussian kernel by landmarks, no softmax',
    seesOrder: true,
    options: ['landmarks'],
    make: ({ landmarks }) => soft({ landmarks }),
  },
  'soft-norm': {
    about: 'the same, normalised',
    seesOrder: true,
    options: ['landmarks'],
    make: ({ landmarks }) => soft({ landmarks, normalise: true }),
  },
  'relative-kernel': {
    about: 'random features times learned factors of distances, by Fourier transforms',
    seesOrder: true,
    options: ['features', 'redraw'],
    make: ({ features, redraw }, length) =>
      relativeKernel({ length, features, redrawEvery: redraw, slab: 16 }),
  },
  luna: {
    about: 'a memory attends to the text, and the text to the memory',
    options: ['landmarks'],
    block: (sizes) => lunaBlock(sizes),
  },
  'conv-luna': {
    about: 'the same with convolved keys and learned temperatures',
    seesOrder: true,
    options: ['landmarks'],
    block: (sizes) => convLunaBlock(sizes),
    memoryDeviation: 1,
  },
  'causal-luna': {
    about: 'means of the text so far, by a memory that stays; its classifiers are causal',
    options: ['landmarks'],
    isCausal: true,
    seesOrder: true,
    make: ({ landmarks }) => causalLuna({ memory: landmarks }),
  },
  simpletron: { about: 'Q (K^T V) / sqrt(n), no softmax', options: [], make: () => simpleTron() },
};

/** Settings with defaults for what a mechanism does not have. */
function needed(settings: Omit<MechanismSettings, 'name'>): NeededSettings {
  return { ...usual, k: 1, redraw: 0, ...settings };
}

/**
 * The mechanism as a value.
 *
 * @param tokens of a document, with its class token
 * @throws TopKError UNSUPPORTED for one that is a block of an encoder instead
 */
export function mechanismOf({ name, ...settings }: MechanismSettings, tokens = 1): Mechanism {
  const { make } = mechanisms[name];
  if (make !== undefined) return make(needed(settings), tokens);
  throw new TopKError('UNSUPPORTED', `${name} is no mechanism of an attention layer`, {
    expected: mechanismNames.filter((one) => mechanisms[one].make !== undefined).join(', '),
    got: name,
  });
}

/** For tables: `exact`, `top-k 128`, `performer`, `performer, redrawn every 1000`. */
export function mechanismTitle({ name, k, redraw }: MechanismSettings): string {
  if (redraw !== undefined) return `${name}, redrawn every ${redraw}`;
  return k === undefined ? name : `${name} ${k}`;
}
