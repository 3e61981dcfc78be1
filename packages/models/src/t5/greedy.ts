import {
  cast,
  elementIsNaN,
  eq,
  evaluate,
  scope,
  sum,
  type Tensor,
  TopKError,
  topK,
  where,
} from '@topk-attention/core';
import { Interruption } from '../interruption.js';
import type { LayerChoices } from '../layer-choice.js';
import type { Progress } from '../progress.js';
import type { T5Config } from './config.js';
import { DecoderState } from './decoder.js';
import { encoderSteps } from './encoder.js';
import { disposeSource, type SourceBatch, sharedLength, sourceBatch } from './source-batch.js';
import type { T5Weights } from './weights.js';

/** The next token of one row. */
export interface NextToken {
  readonly row: number;
  readonly id: number;
  readonly logit: number;
  /** Nothing follows in this row. */
  readonly last: boolean;
}

export interface GreedyOptions {
  readonly maxNewTokens: number;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: Progress) => void) | undefined;
  /** Whether the weights are gone. */
  readonly isDisposed: () => boolean;
}

/** Room for tokens in a fresh cache. A short answer never makes it grow. */
const FIRST_CAPACITY = 32;

/** From this many source tokens on a lazy graph is run layer by layer, so that it can be interrupted. */
const INTERRUPTIBLE_TOKENS = 2048;

/**
 * Greedy decoding of several sources at once: yields the tokens of each step. Rows that have ended are fed padding
 * and ignored. Whatever ends the loop, everything it made is freed.
 */
export async function* greedy(
  config: T5Config,
  weights: T5Weights,
  rows: readonly (readonly number[])[],
  levels: readonly LayerChoices[],
  options: GreedyOptions,
): AsyncGenerator<readonly NextToken[]> {
  const { maxNewTokens, onProgress } = options;
  const interruption = new Interruption('generate', options.signal, options.isDisposed);
  const { backend } = weights.embedding;
  const longest = rows.reduce((most, row) => Math.max(most, row.length), 0);
  const length = backend.capabilities.execution === 'lazy' ? sharedLength(longest) : longest;
  const source = sourceBatch(backend, config, rows, length);
  let state: DecoderState | undefined;
  try {
    state = await startDecoder(config, weights, source, levels, interruption, options);
    let tokens = rows.map(() => config.decoderStartId);
    const ended = rows.map(() => false);
    for (let step = 1; step <= maxNewTokens && ended.includes(false); step++) {
      if (state.reserve()) await evaluate(...state.tensors);
      await interruption.breathe();
      const next = await readBest(state.step(tokens));
      interruption.check();
      const fresh: NextToken[] = [];
      tokens = next.map(({ id, logit }, row) => {
        if (ended[row] === true) return config.padId;
        ended[row] = config.eosIds.includes(id);
        fresh.push({ row, id, logit, last: ended[row] || step === maxNewTokens });
        return id;
      });
      onProgress?.({ stage: 'generate', done: step, total: maxNewTokens });
      yield fresh;
    }
  } finally {
    state?.dispose();
    disposeSource(source);
  }
}

/** Runs the encoder and computes what the decoder keeps of it. */
async function startDecoder(
  config: T5Config,
  weights: T5Weights,
  source: SourceBatch,
  levels: readonly LayerChoices[],
  interruption: Interruption,
  { onProgress }: GreedyOptions,
): Promise<DecoderState> {
  const encoded = await encodeInterruptibly(config, weights, source, levels, interruption, onProgress);
  try {
    const state = new DecoderState(config, weights, encoded, source.keyLengths, levels, FIRST_CAPACITY);
    try {
      await evaluate(...state.tensors);
      interruption.check();
      return state;
    } catch (error) {
      state.dispose();
      throw error;
    }
  } finally {
    encoded.dispose();
  }
}

async function encodeInterruptibly(
  config: T5Config,
  weights: T5Weights,
  source: SourceBatch,
  levels: readonly LayerChoices[],
  interruption: Interruption,
  onProgress: GreedyOptions['onProgress'],
): Promise<Tensor> {
  const isLong = source.ids.size >= INTERRUPTIBLE_TOKENS;
  const steps = encoderSteps(config, weights, source, levels);
  try {
    for (let done = 1; ; done++) {
      // Also after the callback, which may have aborted or disposed.
      interruption.check();
      const step = steps.next();
      if (step.done === true) return step.value;
      if (isLong) await evaluate(step.value);
      await interruption.breathe();
      onProgress?.({ stage: 'encode', done, total: config.encoderLayers });
    }
  } finally {
    // After an error the generator is left in the middle: this frees what it holds.
    steps.return(source.ids);
  }
}

/**
 * The largest logit of each row of [B, vocabSize] and its id: all that leaves the backend. Disposes of the logits.
 *
 * @throws TopKError NAN_FOUND when a row holds a NaN, or nothing above -inf: no token is the best of those.
 */
async function readBest(logits: Tensor): Promise<{ id: number; logit: number }[]> {
  const { values, indices } = scope(() => {
    const best = topK(logits, 1);
    // What selection makes of a NaN is undefined, so a row with one is told by counting.
    const invalid = sum(cast(elementIsNaN(logits), 'f32'), { axes: [1], keepDims: true });
    return { values: where(eq(invalid, 0), best.values, Number.NEGATIVE_INFINITY), indices: best.indices };
  });
  logits.dispose();
  try {
    await evaluate(values, indices);
    const [ids, best] = [await indices.data(), await values.data()];
    return Array.from(ids, (id, row) => {
      const logit = Number(best[row]);
      if (id >= 0 && logit > Number.NEGATIVE_INFINITY) return { id: Number(id), logit };
      throw new TopKError('NAN_FOUND', `generate: no token is the best of the logits of row ${row}`, {
        expected: 'numbers above -Infinity',
        got: `a NaN, or -Infinity for each of ${logits.shape[1]} tokens`,
        fix: 'Check the weights for NaN and infinities',
      });
    });
  } finally {
    values.dispose();
    indices.dispose();
  }
}
