import { readFileSync } from 'node:fs';
import { narrow, type Tensor } from '@topk-attention/core';
import { goldensFolder } from './folders.ts';
import { type Goldens, largestDifference, type TopKChoices } from './goldens.ts';

/** Small decoder-only checkpoints and their golden values, which `tooling/goldens/causal_lm.py` wrote. */
export const causalGoldensFolder: string = `${goldensFolder}/causal-lm`;

/** What `tooling/goldens/causal_lm.py` wrote. */
export interface CausalManifest {
  readonly models: readonly { readonly model: string; readonly topK: TopKChoices }[];
  readonly maxNewTokens: number;
}

export function readCausalManifest(): CausalManifest {
  return JSON.parse(readFileSync(`${causalGoldensFolder}/manifest.json`, 'utf8'));
}

/** The part of a model that is compared. Not the class itself: this package serves the tests of that class's package. */
interface Model {
  readonly config: { readonly vocabSize: number };
  logits(
    tokens: readonly (readonly number[])[],
    options: TopKChoices & { readonly leftPadding: readonly number[] },
  ): Tensor;
}

/** Cases of a forward pass. */
export const causalForwardCases = ['batch', 'topK', 'long'] as const;

/** Largest difference of logits for one of them. */
export async function causalForwardDifference(
  model: Model,
  goldens: Goldens,
  name: (typeof causalForwardCases)[number],
  choices: TopKChoices = {},
): Promise<number> {
  const inputs = name === 'topK' ? 'batch' : name;
  const tokens = goldens.rows(`${inputs}.tokens`);
  const leftPadding = goldens.vector(`${inputs}.leftPadding`);
  const length = tokens[0]?.length ?? 1;
  const expected = goldens.vector(`${name}.logits`);
  // Of the last tokens alone, where the text is long.
  const kept = expected.length / (tokens.length * model.config.vocabSize);
  const all = model.logits(tokens, { ...choices, leftPadding });
  const logits = kept === length ? all.alias() : narrow(all, 1, length - kept, kept);
  all.dispose();
  return largestDifference(logits, expected, (index) => {
    const token = Math.floor(index / model.config.vocabSize);
    return (token % kept) + length - kept >= (leftPadding[Math.floor(token / kept)] as number);
  });
}
