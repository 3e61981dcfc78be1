import {
  elementwiseProgram,
  eq,
  mapElements,
  reshape,
  scope,
  sizeOf,
  type Tensor,
  terms,
  topK,
  where,
} from '@topk-attention/core';
import {
  type DrawnEntriesInputs,
  type DrawnEntriesOutputs,
  type DrawnEntriesRequest,
  defineOperation,
  noteSeed,
  runOperation,
} from '@topk-attention/core/backend';
import { paddedShape } from './padded-shape.js';
import { randomWords } from './random.js';

type Inputs = DrawnEntriesInputs<Tensor>;
type Outputs = DrawnEntriesOutputs<Tensor>;

const rowsOf = ({ shape }: DrawnEntriesRequest): number => sizeOf(shape.slice(0, -1));

const operation = defineOperation<DrawnEntriesRequest, Inputs, Outputs>({
  name: 'drawnEntries',
  title: 'draws of entries',
  outputs({ shape }) {
    const drawn = { shape: [...shape.slice(0, -1), 1], dtype: 'i32' } as const;
    return { positive: drawn, negative: drawn };
  },
  isEmpty: (request) => rowsOf(request) === 0,
  forward: {
    bytes: (request) => ({
      inputs: 4 * sizeOf(request.shape) + (request.visible === undefined ? 0 : sizeOf(request.visible)),
      output: 8 * rowsOf(request),
      saved: 0,
    }),
    composed: (request, { boolBytes = 1 }) => ({
      // Words, those of both kinds and which kind an entry is; then those of both kinds, and the largest of each row.
      scratchBytes: () => {
        const entries = sizeOf(request.shape);
        return Math.max((12 + boolBytes) * entries, 8 * entries + (8 + boolBytes) * rowsOf(request));
      },
      run: (inputs) => drawnByWords(inputs, request),
    }),
  },
});

/** Where the words of a call stand among all. */
interface Draws {
  readonly seed: number;
  /** The place of the first row of Lq. */
  readonly firstQuery: number;
}

/**
 * Of each row a random entry with a weight and a random visible one without, i32 [B, heads, Lq, 1] each, -1 where there is
 * none; by seed and place, the same in chunks of any size. One launch on WebGPU; composed it takes three tensors of the size
 * of the weights while it runs. It has no gradient.
 *
 * @param weights f32 [B, heads, Lq, Lk]: an entry above 0 has a weight
 * @param visible bool that broadcasts to the weights. Default: all are visible.
 */
export function drawnEntries(weights: Tensor, visible: Tensor | undefined, draws: Draws): Outputs {
  noteSeed(draws.seed);
  const shown = visible && reshape(visible, paddedShape(visible.shape, weights.rank));
  const request = { ...draws, shape: weights.shape, ...(shown && { visible: shown.shape }) };
  const inputs = { weights, ...(shown && { visible: shown }) };
  return runOperation(operation, { where: 'drawnEntries', request, inputs });
}

/** Below all random words. */
const NONE = -(2 ** 33);

/** The word of an entry among those of its kind. */
const ranks = elementwiseProgram({ inputs: ['weight', 'word'] }, ({ weight, word }) => ({
  positive: terms.choose(weight, word, NONE),
  negative: terms.choose(weight, NONE, word),
}));

/** The entry of the largest random word is drawn: both kinds share words, as no entry is of both. */
function drawnByWords({ weights, visible }: Inputs, { seed, firstQuery }: DrawnEntriesRequest): Outputs {
  return scope(() => {
    const word = randomWords(weights.backend, seed, 0, weights.shape, firstQuery);
    const ranked = mapElements(ranks, { weight: weights, word });
    word.dispose();
    const positive = largest(ranked.positive);
    ranked.positive.dispose();
    const others = visible === undefined ? ranked.negative : where(visible, ranked.negative, NONE);
    return { positive, negative: largest(others) };
  });
}

/** The place of the largest number of each row, -1 if it is `NONE`. */
function largest(ranked: Tensor): Tensor {
  return scope(() => {
    const { indices, values } = topK(ranked, 1);
    return where(eq(values, NONE), -1, indices);
  });
}
