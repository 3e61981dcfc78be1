import { evaluate } from '@topk-attention/core';
import { Continuation, type GeneratedToken, type Rules } from './continuation.js';
import type { Decoder, DecoderEvents, DecoderState } from './decoder.js';
import { noTokenLeft, type Processor, processorsOf } from './processors.js';
import { moveRows, scoresOf, stepLogits } from './row-logits.js';
import { draw, probabilities, uniform } from './sampling.js';

/**
 * As `greedy`, with logits that are read and processed here: sampling, and the best token under penalties and bans. Each
 * source has `numReturnSequences` rows beside each other.
 *
 * @throws TopKError NAN_FOUND; INVALID_OPTION where no token is left to choose.
 */
export async function* byScores<State extends DecoderState>(
  decoder: Decoder<State>,
  prompts: readonly (readonly number[])[],
  rules: Rules,
  vocabSize: number,
  events: DecoderEvents,
): AsyncGenerator<readonly GeneratedToken[], readonly Continuation[]> {
  const { where, strategy, padId } = rules;
  const { interruption, onProgress } = events;
  const processors = processorsOf(strategy);
  const state = await decoder.start(prompts, events);
  try {
    const { numReturnSequences: copies } = strategy;
    const sources = prompts.flatMap((_, source) => Array.from({ length: copies }, () => source));
    if (copies > 1) await moveRows(state, sources);
    else await evaluate(...state.tensors);
    interruption.check();
    const prefixes = sources.map((source) => state.prefixes[source] as readonly number[]);
    const rows = prefixes.map((prefix, row) => new Continuation(row, prefix, rules));
    const most = Math.max(...rows.map(({ limit }) => limit));
    let tokens: readonly number[] = prefixes.map((prefix) => prefix.at(-1) as number);
    for (let step = 1; rows.some(({ finishReason }) => finishReason === undefined); step++) {
      await interruption.yieldToEvents();
      const logits = await stepLogits(decoder, state, tokens);
      interruption.check();
      const fresh: GeneratedToken[] = [];
      tokens = rows.map((row, at) => {
        if (row.finishReason !== undefined) return padId;
        const scores = scoresOf(where, logits, at, vocabSize);
        const id = choose(rules, processors, scores, row);
        fresh.push(row.add(id, logits[at * vocabSize + id] as number));
        return id;
      });
      onProgress?.({ stage: 'generate', done: step, total: most });
      yield fresh;
    }
    return rows;
  } finally {
    state.dispose();
  }
}

function choose(
  { where, strategy: { mode, sampling } }: Rules,
  processors: readonly Processor[],
  scores: Float64Array,
  { row, sequence, ids }: Continuation,
): number {
  for (const process of processors) process(scores, sequence, ids.length);
  const best = indexOfLargest(scores);
  if (best === -1) throw noTokenLeft(where, row, ids.length);
  if (mode !== 'sampling') return best;
  return draw(probabilities(scores, sampling), uniform(sampling.seed, row, ids.length));
}

/** The lower index of equal ones; -1 where all are -Infinity. */
function indexOfLargest(scores: Float64Array): number {
  let best = -1;
  let largest = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < scores.length; id++) {
    if ((scores[id] as number) <= largest) continue;
    largest = scores[id] as number;
    best = id;
  }
  return best;
}
