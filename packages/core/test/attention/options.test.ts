import { expect, expectTypeOf, test } from 'vitest';
import {
  crossEntropy,
  type Tensor,
  type TopKAttentionOptions,
  type TopKAttentionResult,
  TopKError,
  tensor,
  topKAttention,
} from '../../src/index.js';
import { createReferenceBackend } from '../../src/reference/index.js';

const backend = createReferenceBackend();
const x = tensor(backend, [1, 2, 3, 4, 5, 6], [1, 1, 3, 2]);

function errorOf(call: () => unknown): TopKError {
  try {
    call();
  } catch (error) {
    if (error instanceof TopKError) return error;
    throw error;
  }
  throw new Error('no error');
}

test('options of the declared type may be passed on, and the result tells which form it has', async () => {
  const attend = (options: TopKAttentionOptions) => topKAttention(x, x, x, options);
  expectTypeOf(attend).returns.toEqualTypeOf<Tensor | TopKAttentionResult>();
  expectTypeOf(topKAttention(x, x, x, { k: 1 })).toEqualTypeOf<Tensor>();
  expectTypeOf(topKAttention(x, x, x, { k: 1, returnIndices: true })).toEqualTypeOf<TopKAttentionResult>();
  const plain = attend({ k: 1 });
  const listed = attend({ k: 1, returnIndices: true });
  expect('indices' in plain).toBe(false);
  if (!('indices' in listed)) throw new Error('no indices');
  expect(Array.from(await listed.indices.data())).toEqual([2, 2, 2]);
});

test('an additive mask is told to be a bias', () => {
  const mask = tensor(backend, [0, 0, 0], [1, 1, 1, 3]);
  const error = errorOf(() => topKAttention(x, x, x, { k: 1, mask }));
  expect(error).toMatchObject({ code: 'DTYPE_MISMATCH', expected: 'bool', got: 'f32' });
  expect(error.fix).toMatch(/bias/);
  const bias = tensor(backend, [true, true, true], [1, 1, 1, 3]);
  expect(errorOf(() => topKAttention(x, x, x, { k: 1, bias })).fix).toBeUndefined();
});

test('logits of texts are told to be flattened, and then fit', async () => {
  const logits = tensor(backend, [0, 0, 0, 0, 0, 0], [1, 3, 2]);
  const error = errorOf(() => crossEntropy(logits, tensor(backend, Int32Array.of(0, 1, 0), [1, 3])));
  expect(error.fix).toBe('Flatten both with reshape');
});

test('an error has the properties that it was given and no others, so that a console prints no more', () => {
  const bare = new TopKError('UNSUPPORTED', 'what');
  expect(Object.keys(bare)).toEqual(['name', 'code']);
  expect('cause' in bare).toBe(false);
  expect(bare.fix).toBeUndefined();
  const cause = new Error('why');
  const full = new TopKError('UNSUPPORTED', 'what', { expected: 'a', got: 'b', fix: 'c', cause });
  expect({ ...full }).toEqual({ name: 'TopKError', code: 'UNSUPPORTED', expected: 'a', got: 'b', fix: 'c' });
  expect(full.cause).toBe(cause);
});
