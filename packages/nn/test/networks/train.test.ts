import { crossEntropy, scope, type Tensor, tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { expect, test } from 'vitest';
import {
  adamW,
  classifierHead,
  contextOf,
  dataLoader,
  defineLayer,
  embeddingLayer,
  encoderStack,
  initialize,
  type LogEntry,
  type Mechanism,
  performer,
  seedsFrom,
  stateDict,
  topK,
  train,
  trainableExcept,
  within,
} from '../../src/index.js';

interface Batch {
  readonly ids: readonly number[];
  readonly classes: readonly number[];
}

/** Texts of 6 tokens; the class says whether the first token comes again. */
const texts = Array.from({ length: 64 }, (_, at) => {
  const ids = Array.from({ length: 6 }, (_, i) => (at * 7 + i * i * 3 + Math.floor(at / 5) * i) % 8);
  return { ids, again: ids.slice(1).includes(ids[0] as number) ? 1 : 0 };
});

const mechanisms: { readonly [name: string]: Mechanism } = {
  'top-k': topK({ k: 3 }),
  performer: performer({ features: 8 }),
};

test.each(Object.entries(mechanisms))('a model of layers learns: %s', async (name, mechanism) => {
  const backend = createReferenceBackend();
  const parts = {
    tokens: embeddingLayer(8, 8),
    encoder: encoderStack({
      ...{ layers: 1, width: 8, heads: 2, hidden: 16, normFirst: true, dropout: 0.02 },
      attention: { mechanism },
      feedForward: { k: 8 },
    }),
    classifier: classifierHead({ width: 8, classes: 2, pooling: 'cls' }),
  };
  const model = defineLayer(parts, (context, ids: Tensor) => {
    const x = parts.tokens.apply(within(context, 'tokens'), ids);
    const encoded = parts.encoder.apply(within(context, 'encoder'), x);
    return parts.classifier.apply(within(context, 'classifier'), encoded);
  });
  const first = initialize(backend, model, 3);
  const before = await stateDict(first);
  const losses: number[] = [];
  const { parameters } = await train<Batch>({
    parameters: first,
    trainable: trainableExcept(model, 'tokens.*'),
    loss: (of, { ids, classes }, { seed }) =>
      scope(() => {
        const context = contextOf(of, { training: true, seeds: seedsFrom(seed) });
        const logits = model.apply(context, tensor(backend, Int32Array.from(ids), [classes.length, 6]));
        return crossEntropy(logits, tensor(backend, Int32Array.from(classes), [classes.length]));
      }),
    data: dataLoader(texts, {
      batchSize: 16,
      shuffle: true,
      seed: 1,
      collate: (examples) => ({
        ids: examples.flatMap(({ ids }) => ids),
        classes: examples.map(({ again }) => again),
      }),
    }),
    optimizer: adamW({ learningRate: 0.03 }),
    maxSteps: 40,
    loggingSteps: 1,
    onLog: (entry: LogEntry) => {
      if (typeof entry.loss === 'number') losses.push(entry.loss);
    },
  });
  const mean = (of: readonly number[]): number => of.reduce((all, one) => all + one, 0) / of.length;
  expect(mean(losses.slice(-5))).toBeLessThan(0.75 * mean(losses.slice(0, 5)));
  const after = await stateDict(parameters);
  const still = Object.keys(before).filter((own) =>
    before[own]?.data.every((value, at) => value === after[own]?.data[at]),
  );
  const buffers = name === 'performer' ? ['encoder.layers.0.self_attn.mechanism.projection'] : [];
  expect(still.sort()).toEqual([...buffers, 'tokens.weight'].sort());
});
