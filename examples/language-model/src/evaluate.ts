import { crossEntropy, scope } from '@topk-attention/core';
import { contextOf, type Dataset, dataLoader, type ParameterTree } from '@topk-attention/nn';
import type { LanguageModel } from './model.js';
import type { TokenKind } from './tokenizer.js';
import { toBatch, type Window } from './windows.js';

export interface EvaluateOptions {
  readonly batchSize: number;
  /** Only so many windows, spread evenly over the text. Default: all. */
  readonly most?: number;
}

/** Mean loss of a model on windows of a text, in nats per token. */
export async function meanLoss(
  model: LanguageModel,
  parameters: ParameterTree,
  windows: Dataset<Window>,
  { batchSize, most = windows.length }: EvaluateOptions,
): Promise<number> {
  const count = Math.min(most, windows.length);
  const spread: Dataset<Window> = {
    length: count,
    get: (index) => windows.get(Math.floor((index * windows.length) / count)),
  };
  const loader = dataLoader(spread, { batchSize, collate: (batch: readonly Window[]) => batch });
  const batches = loader.batches();
  const sums: Promise<number>[] = [];
  for (let at = 0; at < loader.batchesPerEpoch; at++) {
    const { batch } = (await batches.next()).value;
    sums.push(lossOf(model, parameters, batch).then((loss) => loss * batch.length));
  }
  // All are on their way before the first is read.
  return (await Promise.all(sums)).reduce((total, one) => total + one, 0) / count;
}

async function lossOf(
  model: LanguageModel,
  parameters: ParameterTree,
  windows: readonly Window[],
): Promise<number> {
  const { backend } = Object.values(parameters)[0]!;
  const loss = scope(() => {
    const { inputs, targets } = toBatch(backend, windows);
    return crossEntropy(model.apply(contextOf(parameters), inputs), targets);
  });
  try {
    return Number((await loss.data())[0]);
  } finally {
    loss.dispose();
  }
}

/** A loss in the unit that such models are compared in: bits per character, or perplexity per word. */
export function inUnits(kind: TokenKind, loss: number): { readonly unit: string; readonly value: number } {
  if (kind === 'characters') return { unit: 'bits per character', value: loss / Math.LN2 };
  return { unit: 'perplexity', value: Math.exp(loss) };
}
