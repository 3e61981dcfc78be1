import { expect, test } from 'vitest';
import { type ByteSource, bytesSource, encodeSafetensors, openShards } from '../../src/index.js';
import { errorOf } from '../support/files.js';

const one = (value: number) => ({ dtype: 'F32', shape: [1], data: Float32Array.of(value) }) as const;
const files: { readonly [name: string]: Uint8Array } = {
  '1.safetensors': encodeSafetensors({ a: one(1), b: one(2) }),
  '2.safetensors': encodeSafetensors({ c: one(3) }),
};
let open = 0;
const opened = async (file: string): Promise<ByteSource> => {
  open++;
  return { ...bytesSource(files[file] ?? new Uint8Array(0), file), close: async () => void open-- };
};
const indexOf = (map: unknown): string => JSON.stringify({ weight_map: map });

test('shards read as one file, and close together', async () => {
  const reader = await openShards(
    'index',
    indexOf({ a: '1.safetensors', b: '1.safetensors', c: '2.safetensors' }),
    opened,
  );
  expect([...reader.tensors.keys()]).toEqual(['a', 'b', 'c']);
  expect(await reader.readFloat32('c')).toEqual(Float32Array.of(3));
  expect(await reader.read('b')).toEqual(Float32Array.of(2));
  expect((await errorOf(reader.read('z'))).code).toBe('MISSING_WEIGHT');
  expect(open).toBe(2);
  await reader.close();
  expect(open).toBe(0);
});

const bad: readonly [string, string][] = [
  ['not JSON', '{'],
  ['no weight_map', '{}'],
  ['an empty weight_map', indexOf({})],
  ['a weight_map of numbers', indexOf({ a: 1 })],
  ['a path out of the folder', indexOf({ a: '../1.safetensors' })],
  ['a tensor that its shard lacks', indexOf({ a: '1.safetensors', b: '1.safetensors', c: '1.safetensors' })],
  ['a tensor that the index lacks', indexOf({ a: '1.safetensors', c: '2.safetensors' })],
];
for (const [what, index] of bad) {
  test(`${what}: FILE_CORRUPT, and nothing stays open`, async () => {
    expect((await errorOf(openShards('index', index, opened))).code).toBe('FILE_CORRUPT');
    expect(open).toBe(0);
  });
}

test('a broken shard gives its own error, and nothing stays open', async () => {
  const error = await errorOf(
    openShards('index', indexOf({ a: '1.safetensors', b: '1.safetensors', c: 'missing' }), opened),
  );
  expect(error.code).toBe('FILE_TRUNCATED');
  expect(open).toBe(0);
});
