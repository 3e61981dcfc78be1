import type { Tensor } from '@topk-attention/core';
import { paddedLength } from '../generation/padded-length.js';
import { runSteps } from '../generation/run-steps.js';
import type { Interruption } from '../interruption.js';
import type { Progress } from '../progress.js';
import type { ModelRun } from '../run-of.js';
import type { EncoderLayers } from './layers.js';
import { encoderSteps } from './stacks.js';
import { encoderBatch } from './token-rows.js';
import type { TokenRow } from './token-sources.js';

/** What a call is watched with. */
export interface CallEvents {
  readonly interruption: Interruption;
  readonly onProgress: ((progress: Progress) => void) | undefined;
}

/** Hidden states of some rows. */
export interface RowsDone {
  /** Which rows of the call, in the order of the batch. */
  readonly rows: readonly number[];
  /** f32 [rows, L, width], right-padded. Freed when the loop goes on. */
  readonly hidden: Tensor;
}

/** Runs rows through the encoder, `batchSize` at once; rows of similar lengths go together. */
export async function* hiddenBatches(
  run: ModelRun,
  layers: EncoderLayers,
  rows: readonly TokenRow[],
  batchSize: number,
  { interruption, onProgress }: CallEvents,
): AsyncGenerator<RowsDone, void> {
  const { config, words } = layers;
  const length = (row: number): number => (rows[row] as TokenRow).ids.length;
  const order = rows.map((_, row) => row).sort((a, b) => length(a) - length(b));
  const batches = Math.ceil(rows.length / batchSize);
  const total = batches * config.layers;
  for (let batch = 0; batch < batches; batch++) {
    const own = order.slice(batch * batchSize, (batch + 1) * batchSize);
    const longest = length(own.at(-1) as number);
    const padded = Math.min(paddedLength(words.backend, longest), config.maxTokens);
    const inputs = encoderBatch(
      words.backend,
      config,
      {
        sources: own.map((row) => (rows[row] as TokenRow).ids),
        types: own.map((row) => (rows[row] as TokenRow).types),
      },
      padded,
    );
    let hidden: Tensor | undefined;
    try {
      const steps = encoderSteps(run, layers, inputs);
      hidden = await runSteps(steps, own.length * padded, interruption, (done) =>
        onProgress?.({ stage: 'encode', done: batch * config.layers + done, total }),
      );
      yield { rows: own, hidden };
    } finally {
      hidden?.dispose();
      for (const one of [inputs.ids, inputs.positions, inputs.types, inputs.keyLengths]) one?.dispose();
    }
  }
}
