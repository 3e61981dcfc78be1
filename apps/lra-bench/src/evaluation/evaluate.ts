import { recordedStep, scope, type Tensor } from '@topk-attention/core';
import { contextOf, type Layer, type ParameterTree } from '@topk-attention/nn';
import { type Batch, documentsOf } from '../model/batches.js';
import type { Documents } from '../model/classifier.js';
import { gradeOf, requireFinite } from './grade.js';

export interface Score {
  /** Mean cross-entropy. */
  readonly loss: number;
  /** In per cent. */
  readonly accuracy: number;
  readonly examples: number;
}

/** Batches whose logits are being read back while further ones are computed. */
const IN_FLIGHT = 4;

type Inputs = { readonly parameters: ParameterTree; readonly documents: Documents };

/**
 * Scores a model on batches. The forward pass is recorded once for each shape of batch, if the backend can. Dispose of it
 * to free the recordings.
 */
export class Evaluator {
  readonly #forward: ReturnType<typeof forwardOf>;

  /** @param shapes of batches whose forward pass stays recorded */
  constructor(model: Layer<readonly [documents: Documents]>, shapes = 4) {
    this.#forward = forwardOf(model, shapes);
  }

  /** @throws TopKError NAN_FOUND for logits that are not finite; the signal's reason between batches */
  async score(
    parameters: ParameterTree,
    batches: Iterable<Batch>,
    { signal, onBatch }: { readonly signal?: AbortSignal; readonly onBatch?: (done: number) => void } = {},
  ): Promise<Score> {
    const backend = Object.values(parameters)[0]?.backend;
    const total = { loss: 0, right: 0, examples: 0, batches: 0 };
    if (backend === undefined) throw new Error('a model without parameters');
    const waiting: { readonly batch: Batch; readonly logits: Promise<ArrayLike<number>> }[] = [];
    const finish = async (most: number): Promise<void> => {
      while (waiting.length > most) {
        const { batch, logits } = waiting.shift() as (typeof waiting)[number];
        addTo(total, batch, await logits);
        onBatch?.(++total.batches);
      }
    };
    try {
      for (const batch of batches) {
        signal?.throwIfAborted();
        const logits = scope(() => {
          const { outputs } = this.#forward({}, { parameters, documents: documentsOf(backend, batch) });
          return outputs.logits;
        });
        waiting.push({ batch, logits: readAndDispose(logits) });
        await finish(IN_FLIGHT);
      }
      await finish(0);
    } finally {
      // After a failure or an abort: nothing may be read from an engine that the caller then closes.
      await Promise.allSettled(waiting.map(({ logits }) => logits));
    }
    requireFinite(total.loss);
    return {
      loss: total.loss / total.examples,
      accuracy: (100 * total.right) / total.examples,
      examples: total.examples,
    };
  }

  dispose(): void {
    this.#forward.dispose();
  }
}

function forwardOf(model: Layer<readonly [documents: Documents]>, mostRecordings: number) {
  return recordedStep(
    (state: Record<string, never>, { parameters, documents }: Inputs) => ({
      state,
      outputs: { logits: model.apply(contextOf(parameters), documents) },
    }),
    { mostRecordings },
  );
}

async function readAndDispose(logits: Tensor): Promise<ArrayLike<number>> {
  try {
    return await logits.data();
  } finally {
    logits.dispose();
  }
}

function addTo(
  total: { loss: number; right: number; examples: number },
  { labels, examples }: Batch,
  logits: ArrayLike<number>,
): void {
  const classes = logits.length / examples;
  for (let row = 0; row < examples; row++) {
    const { loss, isRight } = gradeOf(logits, row, classes, labels[row] as number);
    total.loss += loss;
    if (isRight) total.right++;
    total.examples++;
  }
}
