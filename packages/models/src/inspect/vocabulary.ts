import type { TextTokenizer } from '../text/tokenizer.js';

/** A token and its logit. */
export interface TokenLogit {
  readonly id: number;
  /** What the token reads, without blanks around it; `#id` where it has no text, as special tokens have none. */
  readonly text: string;
  readonly logit: number;
}

/** A token and its share of the prediction. */
export interface TokenPrediction extends TokenLogit {
  /** Of all tokens, by softmax. */
  readonly probability: number;
}

/** What a token reads. */
export function tokenText(tokenizer: TextTokenizer | undefined, id: number): string {
  return tokenizer?.decode([id]).trim() || `#${id}`;
}

/** Places of the `count` largest numbers, the largest first; of equal ones the earlier first. */
export function largest(values: ArrayLike<number>, count: number): number[] {
  const best: number[] = [];
  const most = Math.min(count, values.length);
  for (let at = 0; at < values.length; at++) {
    const value = values[at] as number;
    if (best.length === most && !(value > (values[best[most - 1] as number] as number))) continue;
    let place = best.length;
    while (place > 0 && value > (values[best[place - 1] as number] as number)) place--;
    best.splice(place, 0, at);
    if (best.length > most) best.pop();
  }
  return best;
}

/** The tokens with the largest logits. */
export function topTokens(
  tokenizer: TextTokenizer | undefined,
  logits: Float64Array,
  count: number,
): TokenLogit[] {
  return largest(logits, count).map((id) => ({
    id,
    text: tokenText(tokenizer, id),
    logit: logits[id] as number,
  }));
}

/** The same with probabilities. */
export function topPredictions(
  tokenizer: TextTokenizer | undefined,
  logits: Float64Array,
  count: number,
): TokenPrediction[] {
  const top = topTokens(tokenizer, logits, count);
  const peak = top[0]?.logit ?? 0;
  const total = logits.reduce((sum, logit) => sum + Math.exp(logit - peak), 0);
  return top.map((token) => ({ ...token, probability: Math.exp(token.logit - peak) / total }));
}
