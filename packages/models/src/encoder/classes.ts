import { softmax } from '../generation/sampling.js';
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
  logits: Float64Array,
): readonly ScoredLabel[] {
  const scores =
    problem === 'single-label' ? softmax(logits) : problem === 'regression' ? logits : logits.map(sigmoid);
  return labels
    .map((label, id) => ({ label, score: scores[id] as number }))
    .sort((a, b) => b.score - a.score);
}

function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x));
}
