import type { Backend } from '@topk-attention/core';
import { type LayerChoices, loadT5 } from '@topk-attention/models';
import { disposeParameters } from '@topk-attention/nn';
import { accuracy, fineTune, toExample } from './fine-tune.js';
import type { Question } from './who-is-in.js';

export interface CompareOptions {
  /** Folder of a T5. */
  readonly model: string;
  readonly train: readonly Question[];
  readonly test: readonly Question[];
  /** Hidden units that each token keeps. Default: a twelfth, rounded up. */
  readonly feedForwardK?: number;
  readonly seeds: readonly number[];
  readonly steps: number;
  readonly batchSize: number;
  readonly learningRate: number;
  readonly onRun?: (run: ComparedRun) => void;
  readonly onProgress?: (done: number, total: number, label: string) => void;
  readonly signal?: AbortSignal;
}

/** One fine-tuning, or none: the model as it was loaded. */
export interface ComparedRun {
  readonly feedForward: string;
  /** Absent before fine-tuning. */
  readonly seed?: number;
  /** Share of the test questions that are answered right. */
  readonly accuracy: number;
  /** Mean over the last steps. */
  readonly loss?: number;
}

/** Fine-tunes a T5 with exact and with top-k feed-forward layers, with equal steps and seeds, and tests each as trained. */
export async function compare(backend: Backend, options: CompareOptions): Promise<readonly ComparedRun[]> {
  const { train, test, seeds, steps, batchSize, learningRate, signal, onRun, onProgress } = options;
  const model = await loadT5({ backend, source: options.model });
  const { config, parameters, tokenizer } = model;
  if (tokenizer === undefined) throw new Error('loadT5 loads the tokenizer');
  const stop = signal && { signal };
  const runs: ComparedRun[] = [];
  const add = (run: ComparedRun): void => {
    runs.push(run);
    onRun?.(run);
  };
  try {
    const examples = train.map((question) => toExample(tokenizer, question));
    const k = options.feedForwardK ?? Math.ceil(config.dFf / 12);
    const ways: readonly (readonly [name: string, choices: LayerChoices])[] = [
      ['exact', { feedForward: 'exact' }],
      [`top-k ${k} of ${config.dFf}`, { feedForward: { k } }],
    ];
    for (const [feedForward, choices] of ways) {
      const before = await accuracy(config, parameters, tokenizer, test, { choices, batchSize, ...stop });
      add({ feedForward, accuracy: before });
    }
    for (const seed of seeds) {
      for (const [feedForward, choices] of ways) {
        let loss = Number.NaN;
        const tuned = await fineTune(config, parameters, examples, {
          ...{ choices, steps, batchSize, learningRate, seed, ...stop },
          onLog: (entry) => {
            loss = entry.loss ?? loss;
          },
          onProgress: (done, total) => onProgress?.(done, total, `${feedForward}, seed ${seed}`),
        });
        try {
          const after = await accuracy(config, tuned, tokenizer, test, { choices, batchSize, ...stop });
          add({ feedForward, seed, accuracy: after, loss });
        } finally {
          disposeParameters(tuned);
        }
      }
    }
    return runs;
  } finally {
    model.dispose();
  }
}
