import { evaluate, scope, type Tensor, TopKError, topK } from '@topk-attention/core';
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
  const interruption = new Interruption('generate', options.signal);
  const { backend } = weights.embedding;
  const longest = Math.max(...rows.map((row) => row.length));
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

/** The largest logit of each row of [B, vocabSize] and its id: all that leaves the backend. Disposes of the logits. */
async function readBest(logits: Tensor): Promise<{ id: number; logit: number }[]> {
  const { values, indices } = scope(() => topK(logits, 1));
  logits.dispose();
  try {
    await evaluate(values, indices);
    const [ids, best] = [await indices.data(), await values.data()];
    return Array.from(ids, (id, row) => {
      const logit = Number(best[row]);
      if (id >= 0 && !Number.isNaN(logit)) return { id: Number(id), logit };
      throw new TopKError('NAN_FOUND', 'generate: the logits hold no number', {
        expected: 'finite logits',
        got: `token ${id}, logit ${logit}`,
        fix: 'Check the weights for NaN and infinities',
      });
    });
  } finally {
    values.dispose();
    indices.dispose();
  }
}
