import { evaluate, type Tensor } from '@topk-attention/core';
import { bestTokensOf, readBestTokens } from './best-token.js';
import { Continuation, type GeneratedToken, type Rules } from './continuation.js';
import type { Decoder, DecoderEvents, DecoderState } from './decoder.js';

/**
 * The best token of each step for several prompts at once, of which only ids and logits leave the device: yields the tokens
 * of each step, returns what was written. Rows that have ended are fed padding and ignored. However the loop ends,
 * everything it made is freed.
 */
export async function* greedy<State extends DecoderState>(
  decoder: Decoder<State>,
  prompts: readonly (readonly number[])[],
  rules: Rules,
  events: DecoderEvents,
): AsyncGenerator<readonly GeneratedToken[], readonly Continuation[]> {
  const { interruption, onProgress } = events;
  const state = await decoder.start(prompts, events);
  // What the next step gave, if it has begun before the last one was read.
  let ahead: Tensor | undefined;
  // Of the step that was begun ahead, which may never be needed.
  let failed: { readonly error: unknown } | undefined;
  try {
    await evaluate(...state.tensors);
    interruption.check();
    const rows = state.prefixes.map((prefix, row) => new Continuation(row, prefix, rules));
    const most = Math.max(...rows.map(({ limit }) => limit));
    let tokens: readonly number[] = state.prefixes.map((prefix) => prefix.at(-1) as number);
    for (let step = 1; rows.some(({ finishReason }) => finishReason === undefined); step++) {
      if (failed !== undefined) throw failed.error;
      if (ahead === undefined && state.reserve()) await evaluate(...state.tensors);
      await interruption.yieldToEvents();
      const reading = readBestTokens(
        rules.where,
        ahead ?? decoder.best?.(state, tokens) ?? bestTokensOf(decoder.step(state, tokens)),
      );
      ahead = undefined;
      // Rows that have ended go on meanwhile, and are ignored as well.
      try {
        if (step < most && decoder.best !== undefined) {
          state.reserve();
          ahead = decoder.best(state);
          ahead.backend.flush();
        }
      } catch (error) {
        failed = { error };
      }
      const next = await reading;
      interruption.check();
      const fresh: GeneratedToken[] = [];
      tokens = next.map(({ id, logit }, at) => {
        const row = rows[at] as Continuation;
        if (row.finishReason !== undefined) return rules.padId;
        fresh.push(row.add(id, logit));
        return id;
      });
      onProgress?.({ stage: 'generate', done: step, total: most });
      yield fresh;
    }
    return rows;
  } finally {
    ahead?.dispose();
    state.dispose();
  }
}
