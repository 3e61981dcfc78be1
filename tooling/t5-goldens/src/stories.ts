import { readFileSync } from 'node:fs';
import type { Tensor } from '@topk-attention/core';
import { storiesModel } from './folders.ts';
import type { TopKChoices } from './goldens.ts';

/** What `tooling/goldens/stories260k.py` wrote. */
export interface StoriesManifest {
  /** The start token, and the greedy text after it. */
  readonly ids: readonly number[];
  readonly text: string;
  /** Of that text. */
  readonly perplexity: Perplexities;
  /** Of its first tokens alone. */
  readonly start: { readonly tokens: number; readonly perplexity: Perplexities };
}

/** In float64: with everything, and by k. */
interface Perplexities {
  readonly exact: number;
  readonly attention: { readonly [k: string]: number };
  /** Units chosen by their contribution. */
  readonly feedForward: { readonly [k: string]: number };
}

export function readStories(): StoriesManifest {
  return JSON.parse(readFileSync(`${storiesModel}/manifest.json`, 'utf8'));
}

/** The part of a model that is needed. */
interface Model {
  readonly config: { readonly vocabSize: number };
  logits(tokens: readonly (readonly number[])[], options: TopKChoices): Tensor;
}

/** exp of the mean negative log-likelihood of each token after those before it, over all texts. */
export async function perplexityOf(
  model: Model,
  texts: readonly (readonly number[])[],
  choices: TopKChoices = {},
): Promise<number> {
  const { vocabSize } = model.config;
  let total = 0;
  let count = 0;
  for (const ids of texts) {
    const logits = model.logits([ids], choices);
    const values = Array.from(await logits.data(), Number);
    logits.dispose();
    for (const [at, next] of ids.slice(1).entries()) {
      const row = values.slice(at * vocabSize, (at + 1) * vocabSize);
      const largest = Math.max(...row);
      const sum = row.reduce((all, one) => all + Math.exp(one - largest), 0);
      total += largest + Math.log(sum) - (row[next] as number);
      count++;
    }
  }
  return Math.exp(total / count);
}
