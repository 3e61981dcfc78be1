import { TopKError } from '@topk-attention/core';
import type { Strategy } from './strategy.js';

/**
 * Changes the scores of the next token (logits, or log-probabilities of a beam) for a sequence, in place; -Infinity bans
 * a token.
 *
 * @param newTokens how many of the sequence's tokens are new
 */
export type Processor = (scores: Float64Array, sequence: readonly number[], newTokens: number) => void;

/** The processors of a call, in transformers' order. */
export function processorsOf({
  repetitionPenalty,
  noRepeatNgramSize,
  limits: { minLength = 0, minNewTokens = 0 },
  eosIds,
}: Strategy): readonly Processor[] {
  const processors: Processor[] = [];
  if (repetitionPenalty !== 1) processors.push(penalise(repetitionPenalty));
  if (noRepeatNgramSize > 0) processors.push(banRepeated(noRepeatNgramSize));
  if (Math.max(minLength, minNewTokens) > 0) processors.push(banEnd(eosIds, minLength, minNewTokens));
  return processors;
}

/** The error for rules that ban every token. */
export function noTokenLeft(where: string, row: number, newTokens: number): TopKError {
  return new TopKError('INVALID_OPTION', `${where}: no token is left for row ${row}`, {
    expected: 'rules that leave at least one token',
    got: `none after ${newTokens} new tokens`,
    fix: 'Use a larger noRepeatNgramSize, or fewer tokens',
  });
}

/** Keskar et al., CTRL (2019): scores of tokens of the sequence are divided by the penalty, negative ones multiplied. */
function penalise(penalty: number): Processor {
  return (scores, sequence) => {
    for (const id of new Set(sequence)) {
      const score = scores[id] as number;
      scores[id] = score < 0 ? score * penalty : score / penalty;
    }
  };
}

/** Bans each token that would complete a run of `size` tokens that the sequence has already. */
function banRepeated(size: number): Processor {
  return (scores, sequence) => {
    const last = sequence.length - size + 1;
    for (let start = 0; start < last; start++) {
      let at = 0;
      while (at < size - 1 && sequence[start + at] === sequence[last + at]) at++;
      if (at === size - 1) scores[sequence[start + at] as number] = Number.NEGATIVE_INFINITY;
    }
  };
}

function banEnd(eosIds: readonly number[], minLength: number, minNewTokens: number): Processor {
  return (scores, sequence, newTokens) => {
    if (sequence.length >= minLength && newTokens >= minNewTokens) return;
    for (const id of eosIds) scores[id] = Number.NEGATIVE_INFINITY;
  };
}
