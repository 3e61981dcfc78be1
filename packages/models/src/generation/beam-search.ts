import type { FinishReason } from './continuation.js';
import type { Beams } from './strategy.js';

/** The sequence of a beam. */
export interface Hypothesis {
  readonly ids: readonly number[];
  /** Logit of each token, as the model gave it. */
  readonly logits: readonly number[];
  /** Sum of its log-probabilities; divided by length ** lengthPenalty once it has ended. */
  readonly score: number;
  /** Undefined while it goes on. */
  readonly finishReason: FinishReason | undefined;
}

/** One step's continuation of a beam. */
export interface Candidate {
  /** Which beam it continues. */
  readonly beam: number;
  readonly id: number;
  /** Of the whole sequence. */
  readonly score: number;
}

/**
 * Stands for "never", as in transformers: the beams but the first begin so far behind that the first alone gives the first
 * candidates, and sequences that may not be chosen come last.
 */
const FAR_BEHIND = -1e9;

const nothing: Hypothesis = { ids: [], logits: [], score: FAR_BEHIND, finishReason: undefined };

/** What the search asks about a sequence of new tokens: why it ends, if it does. */
export type EndOf = (ids: readonly number[]) => FinishReason | undefined;

/**
 * Beam search for one source, as in transformers 5: at each step the best continuations of all beams, more than beams, so
 * that enough remain when some end; those among the best `numBeams` that end compete for the result.
 */
export class BeamSearch {
  readonly #settings: Beams;
  /** Most new tokens. */
  readonly #limit: number;
  readonly #endOf: EndOf;
  #running: readonly Hypothesis[];
  /** The best first; those that have ended, and `nothing` in free places. */
  #finished: readonly Hypothesis[];
  #isDone = false;

  constructor(settings: Beams, limit: number, endOf: EndOf) {
    this.#settings = settings;
    this.#limit = limit;
    this.#endOf = endOf;
    const { numBeams } = settings;
    this.#running = Array.from({ length: numBeams }, (_, beam) =>
      beam === 0 ? { ...nothing, score: 0 } : nothing,
    );
    this.#finished = Array.from({ length: numBeams }, () => nothing);
  }

  /** The beams, the best first. */
  get running(): readonly Hypothesis[] {
    return this.#running;
  }

  get isDone(): boolean {
    return this.#isDone;
  }

  /** What has ended, the best first. */
  get finished(): readonly Hypothesis[] {
    return this.#finished.filter(({ finishReason }) => finishReason !== undefined);
  }

  /**
   * Goes on by one token.
   *
   * @param candidates the best first, more than beams
   * @param logitOf the logit of a token after a beam
   * @returns which beam each beam goes on from
   */
  advance(
    candidates: readonly Candidate[],
    logitOf: (beam: number, id: number) => number,
  ): readonly number[] {
    const { numBeams, lengthPenalty, earlyStopping } = this.#settings;
    const next = candidates.map(({ beam, id, score }) => {
      const { ids, logits } = this.#running[beam] as Hypothesis;
      const longer = [...ids, id];
      return {
        beam,
        ids: longer,
        logits: [...logits, logitOf(beam, id)],
        score,
        finishReason: this.#endOf(longer),
      };
    });
    const length = next[0]?.ids.length ?? 0;

    const ended = next
      .slice(0, numBeams)
      .filter(({ finishReason }) => finishReason !== undefined)
      .map((one) => ({ ...one, score: one.score / length ** lengthPenalty }));
    this.#finished = best([...this.#finished, ...ended], numBeams);

    const goingOn = next.map((one) =>
      one.finishReason === undefined ? one : { ...one, score: one.score + FAR_BEHIND },
    );
    const running = best(goingOn, numBeams);
    this.#running = running;

    const isFull = this.#finished.every(({ finishReason }) => finishReason !== undefined);
    const hopeful = (running[0] as Hypothesis).score / this.#hopedLength(length) ** lengthPenalty;
    const worst = isFull ? (this.#finished.at(-1) as Hypothesis).score : FAR_BEHIND;
    this.#isDone =
      next.every(({ finishReason }) => finishReason !== undefined) ||
      (isFull && earlyStopping === true) ||
      !(hopeful > worst);
    return running.map(({ beam }) => beam);
  }

  /** The length at which the best beam is compared with what has ended. */
  #hopedLength(length: number): number {
    const { earlyStopping, lengthPenalty } = this.#settings;
    return earlyStopping === 'never' && lengthPenalty > 0 ? this.#limit : length;
  }
}

/** The `count` largest scores, in order; of equal ones the earlier. */
function best<T extends { readonly score: number }>(all: readonly T[], count: number): T[] {
  return [...all].sort((a, b) => b.score - a.score).slice(0, count);
}

/**
 * The best continuations of all beams, the best first; of equal ones the lower beam, then the lower id.
 *
 * @param scores log-probabilities of the next token, of each beam
 */
export function bestCandidates(
  running: readonly Hypothesis[],
  scores: readonly Float64Array[],
  count: number,
): Candidate[] {
  const kept: Candidate[] = [];
  for (const [beam, own] of scores.entries()) {
    const before = (running[beam] as Hypothesis).score;
    for (let id = 0; id < own.length; id++) {
      const score = before + (own[id] as number);
      if (kept.length === count && !(score > (kept[count - 1] as Candidate).score)) continue;
      let at = kept.length;
      while (at > 0 && score > (kept[at - 1] as Candidate).score) at--;
      kept.splice(at, 0, { beam, id, score });
      if (kept.length > count) kept.pop();
    }
  }
  return kept;
}
