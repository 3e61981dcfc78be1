import { readFile } from 'node:fs/promises';
import { TopKError } from '@topk-attention/core';
import { describe, expect, test } from 'vitest';
import { dataTypes } from '../../src/onnx/data-types.js';
import type { TensorProto } from '../../src/onnx/messages.js';
import { decodeModel } from '../../src/onnx/read-model.js';
import { externalValuesOf, valuesOf } from '../../src/onnx/tensor-values.js';

const model = decodeModel(await readFile(new URL('fixtures/plain.onnx', import.meta.url)));
const tensors = new Map(model.graph?.initializer.map((tensor) => [tensor.name, tensor]));
const named = (name: string): TensorProto => {
  const tensor = tensors.get(name);
  if (tensor === undefined) throw new Error(`no tensor ${name}`);
  return tensor;
};

function codeOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof TopKError) return error.code;
    throw error;
  }
  return 'no error';
}

const pairs = [...tensors.keys()].flatMap((name) => (name?.startsWith('raw_') ? [name.slice(4)] : []));

test('the files have every element type up to 4 bits', () => {
  expect(pairs.length).toBe(21);
});

test.each(pairs)('%s: the same values from bytes and from a list', (type) => {
  const [raw, list] = [named(`raw_${type}`), named(`list_${type}`)];
  expect(raw.rawData).toBeDefined();
  expect(list.rawData).toBeUndefined();
  expect(valuesOf(raw)).toEqual(valuesOf(list));
});

test('values are what Python wrote', () => {
  expect(valuesOf(named('raw_float'))).toEqual(Float32Array.of(0.5, -1.25, 0, 3, Infinity, -2));
  expect(valuesOf(named('raw_int8'))).toEqual(Int8Array.of(0, 1, -1, 127, -128, 5));
  expect(valuesOf(named('list_int64'))).toEqual(
    BigInt64Array.of(0n, 1n, -1n, 3n, -(2n ** 63n), 2n ** 63n - 1n),
  );
  expect(valuesOf(named('list_uint64'))).toEqual(BigUint64Array.of(0n, 1n, 2n, 3n, 4n, 2n ** 64n - 1n));
  expect(valuesOf(named('list_uint32'))).toEqual(Uint32Array.of(0, 1, 2, 3, 4, 2 ** 32 - 1));
  expect(valuesOf(named('list_float16'))).toEqual(Uint16Array.of(0x3800, 0xbd00, 0, 0x4200, 0x7bff, 0xc000));
  expect(valuesOf(named('raw_bool'))).toEqual(Uint8Array.of(1, 0, 1, 1, 0, 0));
  expect(valuesOf(named('raw_complex64')).length).toBe(12);
  expect(valuesOf(named('raw_uint4'))).toEqual(Uint8Array.of(0x10, 0x32, 0xfe));
  expect(valuesOf(named('scalar'))).toEqual(Float32Array.of(2.5));
  expect(valuesOf(named('empty'))).toEqual(new BigInt64Array());
  expect(valuesOf(named('list_string'))).toEqual([
    new Uint8Array(Buffer.from('ä')),
    Uint8Array.of(0xff, 0xfe),
  ]);
});

describe('values in another file', () => {
  test('are named, and read from the bytes handed in', () => {
    const far = named('far');
    expect(externalValuesOf(far)).toEqual({ location: 'weights.bin', offset: 4096, length: 16 });
    expect(externalValuesOf(named('scalar'))).toBeUndefined();
    const bytes = new Uint8Array(Float32Array.of(1, 2, 3, 4).buffer);
    expect(valuesOf(far, bytes)).toEqual(Float32Array.of(1, 2, 3, 4));
    expect(codeOf(() => valuesOf(far, bytes.subarray(1)))).toBe('FILE_CORRUPT');
    expect(codeOf(() => valuesOf(far))).toBe('UNSUPPORTED');
  });

  test.each([
    ['without a place', []],
    [
      'with an offset that is no number',
      [
        { key: 'location', value: 'a' },
        { key: 'offset', value: 'x' },
      ],
    ],
    [
      'with a negative length',
      [
        { key: 'location', value: 'a' },
        { key: 'length', value: '-1' },
      ],
    ],
  ])('%s: corrupt', (_, externalData) => {
    expect(codeOf(() => externalValuesOf({ ...named('far'), externalData }))).toBe('FILE_CORRUPT');
  });
});

describe('shape, type and number of values must fit', () => {
  const raw = (dims: readonly number[], bytes: number): TensorProto => ({
    name: 'x',
    dims,
    dataType: dataTypes.float,
    rawData: new Uint8Array(bytes),
  });

  test.each<[string, TensorProto]>([
    ['too few bytes', raw([2, 2], 12)],
    ['too many bytes', raw([2, 2], 20)],
    ['more values than memory holds', raw([2 ** 40, 2 ** 10], 16)],
    ['more values than a number counts', raw([2 ** 40, 2 ** 40], 16)],
    ['a negative extent', raw([-1, -4], 16)],
    ['no values', { dims: [3], dataType: dataTypes.float }],
    ['a list of another type', { dims: [1], dataType: dataTypes.float, int32Data: Int32Array.of(1) }],
    ['too few strings', { dims: [2], dataType: dataTypes.string, stringData: [] }],
  ])('%s', (_, tensor) => {
    expect(codeOf(() => valuesOf(tensor))).toBe('FILE_CORRUPT');
  });

  test('an element type of later versions', () => {
    expect(codeOf(() => valuesOf({ ...raw([1], 4), dataType: 99 }))).toBe('UNSUPPORTED');
  });

  test('bytes that lie at an odd place are copied', () => {
    const file = new Uint8Array(9);
    file.set(new Uint8Array(Float32Array.of(1, 2).buffer), 1);
    expect(valuesOf({ ...raw([2], 0), rawData: file.subarray(1) })).toEqual(Float32Array.of(1, 2));
  });
});
