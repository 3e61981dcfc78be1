import { createReferenceBackend } from '@topk-attention/core/reference';
import { encodeSafetensors, openSafetensors, type TensorToWrite } from '@topk-attention/nn';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadT5, type T5 } from '../../src/index.js';
import { errorOf } from '../support/errors.js';
import { keepsNothing } from '../support/memory.js';
import { smallCheckpoint } from '../support/sources.js';

const backend = createReferenceBackend();
let model: T5;

beforeAll(async () => {
  model = await loadT5({ backend, source: await smallCheckpoint() });
});
afterAll(() => {
  model.dispose();
  expect(backend.memory().live).toBe(0);
});

test.each([
  ['no tokens', [], 'EMPTY_SEQUENCE'],
  ['an id above the vocabulary', [5, 128], 'INVALID_OPTION'],
  ['a negative id', [-1], 'INVALID_OPTION'],
  ['half an id', [1.5], 'INVALID_OPTION'],
  ['an id beyond 32 bits', [2 ** 32 + 5, 1], 'INVALID_OPTION'],
  ['a bigint', [5n, 1n], 'INVALID_OPTION'],
  ['text for an id', ['5', 1], 'INVALID_OPTION'],
  ['NaN', [Number.NaN, 1], 'INVALID_OPTION'],
  ['no id', [5, undefined, 1], 'INVALID_OPTION'],
  // biome-ignore lint/suspicious/noSparseArray: the hole is the point
  ['a hole', [5, , 1], 'INVALID_OPTION'],
  ['bigints of an array of them', BigInt64Array.of(5n), 'INVALID_OPTION'],
  ['a number', 5, 'INVALID_OPTION'],
  ['nothing', undefined, 'INVALID_OPTION'],
  ['an object', {}, 'INVALID_OPTION'],
] as [string, unknown, string][])('%s: %s', async (_, wrong, code) => {
  const ids = wrong as number[];
  expect((await errorOf(model.generate(ids))).code).toBe(code);
  expect((await errorOf(model.generateBatch([[5, 1], ids]))).code).toBe(code);
  expect(() => model.encode([ids])).toThrow(expect.objectContaining({ code }));
  expect(() => model.logits([[5, 1]], [ids])).toThrow(expect.objectContaining({ code }));
});

test('what is no batch', async () => {
  const invalid = expect.objectContaining({ code: 'INVALID_OPTION' });
  for (const wrong of ['w5', undefined, 5, {}] as unknown[] as string[][]) {
    expect((await errorOf(model.generateBatch(wrong))).code).toBe('INVALID_OPTION');
    expect(() => model.encode(wrong as unknown as number[][])).toThrow(invalid);
  }
  for (const sourceLength of [0, 1.5, Number.NaN, undefined] as number[]) {
    expect(() => model.explain({ sourceLength })).toThrow(invalid);
  }
  expect(() => model.explain({ sourceLength: 4, batch: 0 })).toThrow(invalid);
});

test('ids may come in a typed array', async () => {
  const ids = Int32Array.of(5, 6, 1) as unknown as number[];
  expect(await model.generate(ids)).toEqual(await model.generate([5, 6, 1]));
  const [typed, listed] = [model.logits([ids], [ids]), model.logits([[5, 6, 1]], [[5, 6, 1]])];
  expect(await typed.data()).toEqual(await listed.data());
  for (const used of [typed, listed]) used.dispose();
});

test('options that make no sense', async () => {
  expect((await errorOf(model.generate([1], { maxNewTokens: 0 }))).code).toBe('INVALID_OPTION');
  expect((await errorOf(model.generate([1], { attention: { k: -1 } }))).code).toBe('INVALID_K');
  expect((await errorOf(model.generateBatch([]))).code).toBe('EMPTY_SEQUENCE');
  const shape = expect.objectContaining({ code: 'SHAPE_MISMATCH' });
  expect(() => model.encode([[1, 2], [3]])).toThrow(shape);
  expect(() => model.encode([[1, 2]], { sourceLengths: [3] })).toThrow(shape);
  expect(() => model.logits([[1]], [[0], [0]])).toThrow(shape);
});

test('text without a tokenizer', async () => {
  const bare = await loadT5({ backend, source: await smallCheckpoint(), tokenizer: false });
  expect(bare.tokenizer).toBeUndefined();
  expect((await errorOf(bare.generate('w5'))).code).toBe('INVALID_OPTION');
  expect((await bare.generate([5, 1], { maxNewTokens: 2 })).text).toBe('');
  bare.dispose();
  expect((await errorOf(bare.generate([5, 1]))).code).toBe('DISPOSED');
});

test('weights that make NaN give an error and no token', async () => {
  const source = await smallCheckpoint();
  const bytes = (source.files['model.safetensors'] as Uint8Array).slice();
  bytes.fill(0xff, bytes.length - 4);
  source.files['model.safetensors'] = bytes;
  const broken = await loadT5({ backend, source });
  // The last bytes are those of the last id's embedding.
  expect((await errorOf(broken.generate([127, 5, 1]))).code).toBe('NAN_FOUND');
  broken.dispose();
});

test('one logit that is NaN is an error, wherever it stands', async () => {
  for (const id of [3, 64, 127]) {
    const source = await smallCheckpoint('t5-v1_1');
    const reader = await openSafetensors(source.files['model.safetensors'] as Uint8Array);
    const tensors: { [name: string]: TensorToWrite } = {};
    for (const [name, { dtype, shape }] of reader.tensors) {
      const data = await reader.read(name);
      // A row of the head makes the logit of one token, and touches no other.
      if (name === 'lm_head.weight') data[(id * data.length) / (shape[0] as number)] = Number.NaN;
      tensors[name] = { dtype, shape, data };
    }
    source.files['model.safetensors'] = encodeSafetensors(tensors);
    const broken = await loadT5({ backend, source });
    const error = await keepsNothing(backend, () => errorOf(broken.generate([5, 6, 1])));
    expect(error.code).toBe('NAN_FOUND');
    expect(error.message).toContain('row 0');
    broken.dispose();
  }
});
