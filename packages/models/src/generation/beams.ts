import { stopIn } from '../text/stop-strings.js';
import { BeamSearch, bestCandidates, type EndOf, type Hypothesis } from './beam-search.js';
import { mostNewTokens, type Rules } from './continuation.js';
import type { Decoder, DecoderEvents, DecoderState } from './decoder.js';
import { noTokenLeft, type Processor, processorsOf } from './processors.js';
import { moveRows, scoresOf, stepLogits } from './row-logits.js';

/**
 * Beam search of several prompts at once: `numReturnSequences` results of each, the best first. Beams move with their
 * caches on the device; only logits are read. Rows of a source whose search is over are fed padding and ignored.
 *
 * @throws TopKError NAN_FOUND; INVALID_OPTION where no token is left to choose.
 */
export async function beams<State extends DecoderState>(
  decoder: Decoder<State>,
  prompts: readonly (readonly number[])[],
  rules: Rules,
  vocabSize: number,
  events: DecoderEvents,
): Promise<readonly Hypothesis[]> {
  const { where, strategy, padId } = rules;
  const { numBeams } = strategy.beams;
  const { interruption, onProgress } = events;
  const processors = processorsOf(strategy);
  // At least as many as beams remain when every one of them ends in each of the ways.
  const kept = Math.max(2, 1 + strategy.eosIds.length) * numBeams;
  const state = await decoder.start(prompts, events);
  try {
    await moveRows(
      state,
      prompts.flatMap((_, source) => Array.from({ length: numBeams }, () => source)),
    );
    interruption.check();
    const searches = state.prefixes.map((prefix) => {
      const limit = mostNewTokens(where, strategy.limits, prefix.length);
      return { prefix, limit, search: new BeamSearch(strategy.beams, limit, endOf(rules, limit)) };
    });
    const most = Math.max(...searches.map(({ limit }) => limit));
    let tokens = searches.flatMap(({ prefix }) =>
      Array.from({ length: numBeams }, () => prefix.at(-1) as number),
    );
    for (let step = 1; ; step++) {
      await interruption.yieldToEvents();
      const logits = await stepLogits(decoder, state, tokens);
      interruption.check();
      const moves = searches.flatMap(({ prefix, search }, source) => {
        const first = source * numBeams;
        if (!search.isDone) {
          const scores = search.running.map((beam, at) => {
            const own = logSoftmax(scoresOf(where, logits, first + at, vocabSize));
            applyRules(processors, own, prefix, beam);
            return own;
          });
          const candidates = bestCandidates(search.running, scores, kept);
          if (candidates[0]?.score === Number.NEGATIVE_INFINITY) throw noTokenLeft(where, source, step - 1);
          const from = search.advance(
            candidates,
            (beam, id) => logits[(first + beam) * vocabSize + id] as number,
          );
          if (!search.isDone) return from.map((beam) => first + beam);
        }
        return Array.from({ length: numBeams }, (_, beam) => first + beam);
      });
      onProgress?.({ stage: 'generate', done: step, total: most });
      if (searches.every(({ search }) => search.isDone)) break;
      if (moves.some((from, row) => from !== row)) await moveRows(state, moves);
      tokens = searches.flatMap(({ search }) =>
        search.running.map(({ ids }) => (search.isDone ? padId : (ids.at(-1) as number))),
      );
    }
    return searches.flatMap(({ search }) => search.finished.slice(0, strategy.numReturnSequences));
  } finally {
    state.dispose();
  }
}

function applyRules(
  processors: readonly Processor[],
  scores: Float64Array,
  prefix: readonly number[],
  { ids }: Hypothesis,
): void {
  if (processors.length === 0) return;
  const sequence = [...prefix, ...ids];
  for (const one of processors) one(scores, sequence, ids.length);
}

function endOf({ strategy, tokenizer }: Rules, limit: number): EndOf {
  const { eosIds, stopStrings } = strategy;
  return (ids) => {
    if (eosIds.includes(ids.at(-1) as number)) return 'eos';
    if (stopStrings.length > 0 && tokenizer !== undefined) {
      if (stopIn(tokenizer.decode(ids), stopStrings).isStopped) return 'stop';
    }
    return ids.length >= limit ? 'length' : undefined;
  };
}

/** In place. */
function logSoftmax(scores: Float64Array): Float64Array {
  let best = Number.NEGATIVE_INFINITY;
  for (const score of scores) if (score > best) best = score;
  let total = 0;
  for (const score of scores) total += Math.exp(score - best);
  const norm = best + Math.log(total);
  for (let id = 0; id < scores.length; id++) scores[id] = (scores[id] as number) - norm;
  return scores;
}
