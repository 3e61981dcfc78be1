import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import {
  encodeSafetensors,
  openFile,
  openSafetensors,
  saveSafetensors,
  type TensorToWrite,
} from '../../src/index.js';
import { errorOf, temporaryFolder } from '../support/files.js';

const a: TensorToWrite = { dtype: 'F32', shape: [2], data: Float32Array.of(1, -2) };
const b: TensorToWrite = { dtype: 'U8', shape: [3], data: Uint8Array.of(1, 2, 3) };
const c: TensorToWrite = { dtype: 'F64', shape: [1], data: Float64Array.of(Math.PI) };

test('equal tensors give equal bytes, whatever order they come in', () => {
  const first = encodeSafetensors({ a, b, c, '7': b }, { x: '1', y: '2' });
  const second = encodeSafetensors({ '7': b, c, b, a }, { y: '2', x: '1' });
  expect(second).toEqual(first);
});

test('data begin at a multiple of 8 bytes and every tensor at one of its own size', async () => {
  for (let letters = 1; letters < 12; letters++) {
    const file = encodeSafetensors({ ['n'.repeat(letters)]: b, a, c });
    expect(Number(new DataView(file.buffer).getBigUint64(0, true)) % 8).toBe(0);
    const { tensors } = await openSafetensors(file);
    expect((tensors.get('c')?.begin ?? 1) % 8).toBe(0);
    expect((tensors.get('a')?.begin ?? 1) % 4).toBe(0);
  }
});

test('data and shape that do not fit are refused', () => {
  const thrown = (one: TensorToWrite) => () => encodeSafetensors({ one });
  expect(thrown({ ...a, shape: [3] })).toThrow(expect.objectContaining({ code: 'SHAPE_MISMATCH' }));
  expect(thrown({ ...a, dtype: 'F16' })).toThrow(expect.objectContaining({ code: 'DTYPE_MISMATCH' }));
  expect(thrown({ ...a, dtype: 'U64' })).toThrow(expect.objectContaining({ code: 'DTYPE_MISMATCH' }));
  expect(thrown({ ...a, dtype: 'F7' })).toThrow(expect.objectContaining({ code: 'DTYPE_MISMATCH' }));
  const list = [1, -2] as unknown as Float32Array;
  expect(thrown({ ...a, data: list })).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
});

test('a saved file is read back from disk', async () => {
  const path = join(await temporaryFolder(), 'x.safetensors');
  await saveSafetensors(path, { a, b }, { format: 'pt' });
  expect(new Uint8Array(await readFile(path))).toEqual(encodeSafetensors({ a, b }, { format: 'pt' }));
  const file = await openSafetensors(await openFile(path));
  expect(await file.read('a')).toEqual(a.data);
  await file.close();
  await file.close();
});

test('a write that fails leaves the old file and nothing else', async () => {
  const folder = await temporaryFolder();
  const path = join(folder, 'x.safetensors');
  await saveSafetensors(path, { a });
  const before = await readFile(path);
  await expect(saveSafetensors(path, { a: { ...a, shape: [9] } })).rejects.toThrow();
  // A folder cannot be replaced by a file, whoever runs the test.
  await writeFile(join(folder, 'inside'), '');
  await expect(saveSafetensors(folder, { a })).rejects.toThrow();
  expect(await readFile(path)).toEqual(before);
  expect((await readdir(folder)).sort()).toEqual(['inside', 'x.safetensors']);
});

test('a file that is not there, or is a folder, is FILE_NOT_FOUND', async () => {
  const folder = await temporaryFolder();
  expect((await errorOf(openFile(join(folder, 'missing')))).code).toBe('FILE_NOT_FOUND');
  expect((await errorOf(openFile(folder))).code).toBe('FILE_NOT_FOUND');
});
