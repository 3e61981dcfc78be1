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

/** A model of one task, and the largest difference allowed. */
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

/** Hidden states, embeddings and the logits of every head within 1e-4 of Python transformers. */
export async function checkEncoder({ golden, goldens, load }: EncoderCheck): Promise<void> {
  const sources = goldens.rows('ids');
  const lengths = goldens.vector('lengths');
  const length = sources[0]?.length ?? 1;
  const isValid = (width: number) => (index: number) => {
    const token = Math.floor(index / width);
    return token % length < (lengths[Math.floor(token / length)] as number);
  };
  const all = { sourceLengths: lengths, types: goldens.rows('types') };

  const model = await load('feature-extraction');
  const { width } = model.config;
  const hidden = (name: string, options: object) =>
    largestDifference(model.encode(sources, { ...all, ...options }), goldens.vector(name), isValid(width));
  expect(await hidden('hidden', {})).toBeLessThan(1e-4);
  expect(await hidden('topK.hidden', golden.topK)).toBeLessThan(1e-4);
  model.dispose();

  for (const task of ['text-classification', 'token-classification', 'question-answering'] as const) {
    const own = await load(task);
    const counts =
      task === 'text-classification' ? () => true : isValid(task === 'question-answering' ? 2 : 3);
    const difference = await largestDifference(
      own.logits(sources, all),
      goldens.vector(`${task}.logits`),
      counts,
    );
    expect(difference, task).toBeLessThan(1e-4);
    own.dispose();
  }

  const masks = await load('fill-mask');
  const short = sources.slice(1).map((row) => row.slice(0, 7));
  const types = all.types.slice(1).map((row) => row.slice(0, 7));
  const words = goldens.vector('fill-mask.logits');
  const vocabulary = words.length / 14;
  const difference = await largestDifference(
    masks.logits(short, { sourceLengths: lengths.slice(1), types }),
    words,
    // The second row has one token.
    (index) => index < 8 * vocabulary,
  );
  expect(difference, 'fill-mask').toBeLessThan(1e-4);
  masks.dispose();
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
