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
import type { Decoder, DecoderEvents, DecoderState } from './decoder.js';

/** The next token of one row. */
export interface NextToken {
  readonly row: number;
  readonly id: number;
  readonly logit: number;
  /** True for the last token of the row. */
  readonly last: boolean;
}

/** When a row ends, and what it is fed afterwards. */
export interface StopRules {
  readonly maxNewTokens: number;
  readonly eosIds: readonly number[];
  readonly padId: number;
}

/**
 * Greedy decoding of several prompts at once: yields the tokens of each step. Rows that have ended are fed padding
 * and ignored. However the loop ends, everything it made is freed.
 */
export async function* greedy<State extends DecoderState>(
  decoder: Decoder<State>,
  prompts: readonly (readonly number[])[],
  { maxNewTokens, eosIds, padId }: StopRules,
  events: DecoderEvents,
): AsyncGenerator<readonly NextToken[]> {
  const { interruption, onProgress } = events;
  const state = await decoder.start(prompts, events);
  try {
    await evaluate(...state.tensors);
    interruption.check();
    let tokens = state.firstTokens;
    const ended = prompts.map(() => false);
    for (let step = 1; step <= maxNewTokens && ended.includes(false); step++) {
      if (state.reserve()) await evaluate(...state.tensors);
      await interruption.yieldToEvents();
      const next = await readBest(decoder.step(state, tokens));
      interruption.check();
      const fresh: NextToken[] = [];
      tokens = next.map(({ id, logit }, row) => {
        if (ended[row] === true) return padId;
        ended[row] = eosIds.includes(id);
        fresh.push({ row, id, logit, last: ended[row] || step === maxNewTokens });
        return id;
      });
      onProgress?.({ stage: 'generate', done: step, total: maxNewTokens });
      yield fresh;
    }
  } finally {
    state.dispose();
  }
}

/** Disposes of the logits. */
function bestOf(logits: Tensor): { values: Tensor; indices: Tensor } {
  try {
    return scope(() => {
      const best = topK(logits, 1);
      // Selection from a row with a NaN is undefined, so NaNs are counted.
      const invalid = sum(cast(elementIsNaN(logits), 'f32'), { axes: [1], keepDims: true });
      return { values: where(eq(invalid, 0), best.values, Number.NEGATIVE_INFINITY), indices: best.indices };
    });
  } finally {
    logits.dispose();
  }
}

/**
 * The largest logit of each row of [B, vocabSize] and its id: all that leaves the backend. Disposes of the logits.
 *
 * @throws TopKError NAN_FOUND when a row holds a NaN or nothing above -Infinity: it has no best token.
 */
async function readBest(logits: Tensor): Promise<{ id: number; logit: number }[]> {
  const { values, indices } = bestOf(logits);
  try {
    await evaluate(values, indices);
    const [ids, best] = [await indices.data(), await values.data()];
    return Array.from(ids, (id, row) => {
      const logit = Number(best[row]);
      if (id >= 0 && logit > Number.NEGATIVE_INFINITY) return { id: Number(id), logit };
      throw new TopKError('NAN_FOUND', `generate: the logits of row ${row} are NaN or all -Infinity`, {
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
