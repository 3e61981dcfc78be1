import {
  type Backend,
  exactAttention,
  type StepSeeds,
  scope,
  type Tensor,
  TopKError,
  tensor,
} from '@topk-attention/core';
import {
  attentionLayer,
  contextOf,
  encoderStack,
  exact,
  feedForwardLayer,
  type Initializer,
  inference,
  initialize,
  type Layer,
  type Mechanism,
  type ParameterTree,
  performer,
  type Run,
  topK,
} from '@topk-attention/nn';
import type { Direction, StudyName, WayName } from './result.js';
import { wholeAttention } from './whole-attention.js';

/** A study: what it varies, and the function of tensors that it times. */
export interface Study {
  readonly name: StudyName;
  readonly title: string;
  /** Of the x axis. */
  readonly varies: string;
  readonly about: string;
  /** The paper's values of x. */
  readonly xs: readonly number[];
  readonly ways: readonly WayName[];
  readonly directions: readonly Direction[];
  /** Tensors and a function of them. Smaller `sizes` than the paper's try a study out on a slow machine. */
  readonly make: (backend: Backend, way: WayName, x: number, sizes: StudySizes) => Prepared;
}

/** Sizes that a study does not vary. */
export interface StudySizes {
  readonly k: number;
  /** Tokens of the feed-forward study, and the length of the query-chunk study. */
  readonly tokens: number;
  readonly layers: number;
}

export interface Prepared {
  /** Weights and inputs: gradients are taken for all of them. */
  readonly tensors: ParameterTree;
  readonly apply: (tensors: ParameterTree, seeds: StepSeeds) => Tensor;
  /** Frees what else it holds. Default: nothing. */
  readonly dispose?: () => void;
}

const WIDTH = 768;
const HEADS = 12;
/** For the hidden units of some tokens, where a feed-forward layer uses all units. */
const DENSE_BYTES = 2 ** 31;
/** Features of Performer, as in the paper. */
const FEATURES = 256;

const both: readonly Direction[] = ['forward', 'forward + backward'];

/** The paper's four studies, with its sizes. */
export const studies: { readonly [name in StudyName]: Study } = {
  attention: {
    name: 'attention',
    title: 'One causal attention layer',
    varies: 'length',
    about:
      'Batch 1, 12 heads of 64, projections with bias; top-k keeps 128 keys; Performer has 256 features. The paper drops a tenth of the weights; here nothing is dropped.',
    xs: [2048, 4096, 8192, 16_384, 32_768, 65_536],
    ways: ['whole', 'exact', 'top-k', 'performer'],
    directions: both,
    make: (backend, way, x, { k }) => {
      const layer = attentionLayer({
        width: WIDTH,
        heads: HEADS,
        causal: true,
        mechanism: mechanism(way, k),
      });
      return ofLayer(backend, layer, [1, x, WIDTH]);
    },
  },
  'feed-forward': {
    name: 'feed-forward',
    title: 'One feed-forward layer',
    varies: 'hidden units',
    about:
      'Width 768, 262,144 tokens, ReLU, no bias; exact takes as many tokens at a time as fit 2 GiB; top-k keeps 512 units per token.',
    xs: [2048, 4096, 8192, 16_384, 32_768, 65_536],
    ways: ['whole', 'exact', 'top-k'],
    directions: both,
    make: (backend, way, x, { k, tokens }) => {
      const layer = feedForwardLayer({ width: WIDTH, hidden: x, bias: false, ...(way === 'top-k' && { k }) });
      const run = way === 'exact' ? { ...inference, budgetBytes: DENSE_BYTES } : inference;
      return ofLayer(backend, layer, [1, tokens, WIDTH], run);
    },
  },
  model: {
    name: 'model',
    title: 'A causal model of 12 layers',
    varies: 'length',
    about: 'Batch 1, 12 heads of 64, 3,072 hidden units, all of them used; top-k keeps 64 keys.',
    xs: [2048, 4096, 8192, 16_384, 32_768],
    ways: ['whole', 'exact', 'top-k', 'performer'],
    directions: both,
    make: (backend, way, x, { k, layers }) => {
      const attention = { mechanism: mechanism(way, k), causal: true };
      const stack = encoderStack({
        layers,
        width: WIDTH,
        heads: HEADS,
        hidden: 4 * WIDTH,
        dropout: 0,
        attention,
      });
      return ofLayer(backend, stack, [1, x, WIDTH]);
    },
  },
  'query-chunk': {
    name: 'query-chunk',
    title: 'Queries per chunk',
    varies: 'queries per chunk',
    about: 'Exact attention over 65,536 tokens, 12 heads of 64, no mask, forward only.',
    xs: [128, 256, 512, 1024, 2048],
    ways: ['exact'],
    directions: ['forward'],
    make: (backend, _way, x, { tokens }) => {
      const shape = [1, HEADS, tokens, WIDTH / HEADS];
      return {
        tensors: { q: wave(backend, shape, 1), k: wave(backend, shape, 2), v: wave(backend, shape, 3) },
        apply: ({ q, k, v }) => exactAttention(q as Tensor, k as Tensor, v as Tensor, { queryChunk: x }),
      };
    },
  },
};

/** The paper's sizes of a study. */
export function paperSizes(study: StudyName): StudySizes {
  return {
    k: { attention: 128, 'feed-forward': 512, model: 64, 'query-chunk': 1 }[study],
    tokens: study === 'query-chunk' ? 65_536 : 262_144,
    layers: 12,
  };
}

function mechanism(way: WayName, k: number): Mechanism {
  switch (way) {
    case 'whole':
      return wholeAttention();
    case 'exact':
      return exact();
    case 'top-k':
      return topK({ k });
    case 'performer':
      return performer({ features: FEATURES });
    default:
      return way satisfies never;
  }
}

function ofLayer(backend: Backend, layer: Layer, shape: readonly number[], run: Run = inference): Prepared {
  const declared = Object.entries(layer.parameters).map(([name, one]) => {
    return [name, { ...one, initializer: drawnOnce(one.initializer) }] as const;
  });
  const parameters = initialize(backend, { ...layer, parameters: Object.fromEntries(declared) }, 42);
  return {
    tensors: { ...parameters, input: wave(backend, shape, 4) },
    apply: ({ input, ...rest }) => {
      if (input === undefined) throw new TopKError('MISSING_WEIGHT', 'a study without an input');
      return scope(() => layer.apply(contextOf(rest, run), input));
    },
  };
}

/** Sizes of weights that are kept, and how many numbers of them: 1 GiB. */
const KEPT_FROM = 2 ** 16;
const MOST_KEPT = 2 ** 27;
const kept = new Map<string, Float64Array>();

/**
 * Large weights of a shape are drawn once and are equal in all layers: a study asks for the same ones forty times, and
 * drawing the 85 million of twelve layers takes longer than most passes.
 */
function drawnOnce(initializer: Initializer): Initializer {
  return (shape, seed) => {
    const known = kept.get(String(shape));
    if (known !== undefined) return known;
    const values = initializer(shape, seed);
    if (values.length < KEPT_FROM) return values;
    let numbers = values.length;
    for (const one of kept.values()) numbers += one.length;
    if (numbers > MOST_KEPT) kept.clear();
    kept.set(String(shape), values);
    return values;
  };
}

/** After how many numbers a wave repeats itself: a prime, so that rows of a tensor differ. */
const PERIOD = 1_000_003;

/** Numbers between -1 and 1 without a short period. Sines of the largest study's 2^28 numbers would take half a minute. */
function wave(backend: Backend, shape: readonly number[], phase: number): Tensor {
  const size = shape.reduce((product, extent) => product * extent, 1);
  const values = new Float32Array(size);
  const first = Math.min(size, PERIOD);
  for (let at = 0; at < first; at++) values[at] = Math.sin(phase + at * 0.7317 + (at % 977) * 0.119);
  for (let at = first; at < size; at += PERIOD) values.copyWithin(at, 0, Math.min(PERIOD, size - at));
  return tensor(backend, values, shape);
}
