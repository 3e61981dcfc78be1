import type { EncoderConfig } from './config.js';

/** A class and how likely it is. */
export interface ScoredLabel {
  readonly label: string;
  /** A probability; the logit itself in a regression. */
  readonly score: number;
}

/** Scores of all classes, the best first: softmax, or each logit's own probability where several classes may hold at once. */
export function scoredLabels(
  { labels, problem }: Pick<EncoderConfig, 'labels' | 'problem'>,
  logits: readonly number[],
): readonly ScoredLabel[] {
  const scores =
    problem === 'single-label' ? softmax(logits) : problem === 'regression' ? logits : logits.map(sigmoid);
  return labels
    .map((label, id) => ({ label, score: scores[id] as number }))
    .sort((a, b) => b.score - a.score);
}

export function softmax(logits: readonly number[]): readonly number[] {
  const largest = logits.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const weights = logits.map((one) => Math.exp(one - largest));
  const sum = weights.reduce((a, b) => a + b, 0);
  return weights.map((one) => one / sum);
}

function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x));
}
