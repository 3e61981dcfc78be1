import type { Tensor } from '@topk-attention/core';
import { expect } from 'vitest';
import type { EncoderGolden } from './encoders.ts';
import { type Goldens, largestDifference } from './goldens.ts';

/** The parts of a model that are compared. Not the class itself: this package serves the tests of that class's package. */
interface Model {
  readonly config: { readonly width: number };
  encode(sources: readonly (readonly number[])[], options: object): Tensor;
  logits(sources: readonly (readonly number[])[], options: object): Tensor;
  embed(
    sources: readonly (readonly number[])[],
    options: { readonly pooling?: 'mean' | 'cls'; readonly normalize?: boolean },
  ): Promise<readonly Float32Array[]>;
}

/** What is compared: the golden values of one family, and its model with the head of a task. */
export interface EncoderCheck {
  readonly golden: EncoderGolden;
  readonly goldens: Goldens;
  readonly load: (
    task:
      | 'feature-extraction'
      | 'text-classification'
      | 'token-classification'
      | 'question-answering'
      | 'fill-mask',
  ) => Promise<Model & { dispose(): void }>;
}

/** The batch of the goldens, and which numbers of an output of `width` numbers a token belong to no padding. */
function batchOf(goldens: Goldens) {
  const sources = goldens.rows('ids');
  const lengths = goldens.vector('lengths');
  const length = sources[0]?.length ?? 1;
  const isValid = (width: number) => (index: number) => {
    const token = Math.floor(index / width);
    return token % length < (lengths[Math.floor(token / length)] as number);
  };
  return { sources, all: { sourceLengths: lengths, types: goldens.rows('types') }, isValid };
}

/** Hidden states within 1e-4 of Python transformers; with top-k in every layer within 1e-4 of the equations. */
export async function checkHiddenStates({ golden, goldens, load }: EncoderCheck): Promise<void> {
  const { sources, all, isValid } = batchOf(goldens);
  const model = await load('feature-extraction');
  const counts = isValid(model.config.width);
  for (const [name, choices] of [
    ['hidden', {}],
    ['topK.hidden', golden.topK],
  ] as const) {
    const states = model.encode(sources, { ...all, ...choices });
    expect(await largestDifference(states, goldens.vector(name), counts), name).toBeLessThan(1e-4);
  }
  model.dispose();
}

/** Logits of every head within 1e-4 of Python transformers. */
export async function checkHeads({ goldens, load }: EncoderCheck): Promise<void> {
  const { sources, all, isValid } = batchOf(goldens);
  for (const [task, counts] of [
    ['text-classification', () => true],
    ['token-classification', isValid(3)],
    ['question-answering', isValid(2)],
  ] as const) {
    const model = await load(task);
    const expected = goldens.vector(`${task}.logits`);
    expect(await largestDifference(model.logits(sources, all), expected, counts), task).toBeLessThan(1e-4);
    model.dispose();
  }

  const model = await load('fill-mask');
  const short = sources.slice(1).map((row) => row.slice(0, 7));
  const logits = model.logits(short, {
    sourceLengths: all.sourceLengths.slice(1),
    types: all.types.slice(1).map((row) => row.slice(0, 7)),
  });
  const expected = goldens.vector('fill-mask.logits');
  const vocabulary = expected.length / 14;
  // The second row has one token.
  const counts = (index: number): boolean => index < 8 * vocabulary;
  expect(await largestDifference(logits, expected, counts), 'fill-mask').toBeLessThan(1e-4);
  model.dispose();
}

/** Embeddings within 1e-5 of those of Python, of all types 0. */
export async function checkEmbeddings({ goldens, load }: EncoderCheck): Promise<void> {
  const lengths = goldens.vector('lengths');
  const model = await load('feature-extraction');
  const ids = goldens.rows('ids').map((row, at) => row.slice(0, lengths[at]));
  for (const [name, options] of [
    ['mean', { pooling: 'mean' }],
    ['cls', { pooling: 'cls' }],
    ['normalized', { normalize: true }],
  ] as const) {
    const vectors = await model.embed(ids, options);
    const expected = goldens.rows(`embed.${name}`);
    for (const [row, vector] of vectors.entries()) {
      for (const [at, value] of vector.entries()) {
        expect(Math.abs(value - (expected[row]?.[at] ?? Number.NaN)), `${name} ${row}`).toBeLessThan(1e-5);
      }
    }
  }
  model.dispose();
}
