import { evaluate, type Tensor } from '@topk-attention/core';
import { bestTokensOf, readBestTokens } from './best-token.js';
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
  // What the next step gave, if it has begun before the last one was read.
  let ahead: Tensor | undefined;
  // Of the step that was begun ahead, which may never be needed.
  let failed: { readonly error: unknown } | undefined;
  try {
    await evaluate(...state.tensors);
    interruption.check();
    let tokens: readonly number[] = state.prefixes.map((prefix) => prefix.at(-1) as number);
    const ended = prompts.map(() => false);
    for (let step = 1; step <= maxNewTokens && ended.includes(false); step++) {
      if (failed !== undefined) throw failed.error;
      if (ahead === undefined && state.reserve()) await evaluate(...state.tensors);
      await interruption.yieldToEvents();
      const reading = readBestTokens(
        ahead ?? decoder.best?.(state, tokens) ?? bestTokensOf(decoder.step(state, tokens)),
      );
      ahead = undefined;
      // Rows that have ended go on meanwhile, and are ignored as well.
      try {
        if (step < maxNewTokens && decoder.best !== undefined) {
          state.reserve();
          ahead = decoder.best(state);
          ahead.backend.flush();
        }
      } catch (error) {
        failed = { error };
      }
      const next = await reading;
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
    ahead?.dispose();
    state.dispose();
  }
}
