import {
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TopKError } from '@topk-attention/core';
import { readTestModel } from '@topk-attention/onnx-models';
import * as ort from 'onnxruntime-node';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { ModelProto, TensorProto } from '../../src/onnx/messages.js';
import { decodeModel } from '../../src/onnx/read-model.js';
import { encodeModel } from '../../src/onnx/write-model.js';
import { rewriteFile } from '../../src/rewrite/index.js';
import { feedsOf } from '../support/run-model.js';

const original = readTestModel('block-bert4');
let folder: string;
const at = (...parts: readonly string[]): string => join(folder, ...parts);

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'topk-rewrite-'));
  await mkdir(at('from'));
  await mkdir(at('to'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function codeOf(call: Promise<unknown>): Promise<string> {
  const error: unknown = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  return error instanceof TopKError ? error.code : String(error);
}

/** The model with its matrices in another file, after so many bytes of nothing. */
async function writeExternal(location: string, place = location, start = 0): Promise<void> {
  const model = decodeModel(original);
  const parts: Uint8Array[] = [];
  let offset = start;
  const moved = (tensor: TensorProto): TensorProto => {
    const { rawData, ...rest } = tensor;
    if (rawData === undefined || tensor.dims.length < 2) return tensor;
    const entries = { location, offset: `${offset}`, length: `${rawData.length}` };
    parts.push(rawData);
    offset += rawData.length;
    const externalData = Object.entries(entries).map(([key, value]) => ({ key, value }));
    return { ...rest, dataLocation: 1, externalData };
  };
  const graph = model.graph as NonNullable<ModelProto['graph']>;
  await writeFile(
    at('from', 'model.onnx'),
    encodeModel({ ...model, graph: { ...graph, initializer: graph.initializer.map(moved) } }),
  );
  if (place === '') return;
  const file = await open(at('from', place), 'w');
  await file.write(Buffer.concat(parts), 0, undefined, start);
  await file.close();
}

async function outputOf(file: string): Promise<Float32Array> {
  const session = await ort.InferenceSession.create(file);
  const output = (await session.run(feedsOf(original, { batch: 2, length: 21 }))).output as ort.Tensor;
  await session.release();
  return output.data as Float32Array;
}

test('a file is written whole, and the original stays', async () => {
  await writeFile(at('from', 'model.onnx'), original);
  const report = await rewriteFile(at('from', 'model.onnx'), at('to', 'new.onnx'), { strict: true });
  expect(report.blocks).toMatchObject([{ result: 'exact' }]);
  expect(await readdir(at('to'))).toEqual(['new.onnx']);
  expect(Buffer.compare(await readFile(at('from', 'model.onnx')), original)).toBe(0);
  expect(await outputOf(at('to', 'new.onnx'))).toEqual(await outputOf(at('from', 'model.onnx')));
});

test('weights in another file are copied along, or shared in the same folder', async () => {
  await writeExternal('weights.bin');
  await rewriteFile(at('from', 'model.onnx'), at('to', 'new.onnx'));
  expect((await readdir(at('to'))).sort()).toEqual(['new.onnx', 'weights.bin']);
  const expected = await outputOf(at('from', 'model.onnx'));
  expect(await outputOf(at('to', 'new.onnx'))).toEqual(expected);
  await rewriteFile(at('from', 'model.onnx'), at('from', 'new.onnx'));
  expect((await readdir(at('from'))).sort()).toEqual(['model.onnx', 'new.onnx', 'weights.bin']);
  expect(await outputOf(at('from', 'new.onnx'))).toEqual(expected);
});

test('weights beyond 2 GiB stay where they are, and are not read', async () => {
  // Nothing but a hole comes before them, which takes no room on the disk.
  const start = 3 * 2 ** 30;
  await writeExternal('weights.bin', 'weights.bin', start);
  const before = process.memoryUsage.rss();
  const { blocks } = await rewriteFile(at('from', 'model.onnx'), at('from', 'new.onnx'), { strict: true });
  expect(process.memoryUsage.rss() - before).toBeLessThan(2 ** 28);
  expect(blocks).toMatchObject([{ result: 'exact' }]);
  expect((await stat(at('from', 'new.onnx'))).size).toBeLessThan(100_000);
  expect((await stat(at('from', 'weights.bin'))).size).toBeGreaterThan(start);
  expect(await outputOf(at('from', 'new.onnx'))).toEqual(await outputOf(at('from', 'model.onnx')));
});

test('no file that exists is replaced', async () => {
  await writeExternal('weights.bin');
  const source = at('from', 'model.onnx');
  expect(await codeOf(rewriteFile(source, source))).toBe('INVALID_OPTION');
  await writeFile(at('to', 'weights.bin'), 'mine');
  expect(await codeOf(rewriteFile(source, at('to', 'new.onnx')))).toBe('INVALID_OPTION');
  expect(await readdir(at('to'))).toEqual(['weights.bin']);
});

test.each([
  ['../weights.bin', 'FILE_CORRUPT'],
  ['inner/../../weights.bin', 'FILE_CORRUPT'],
  ['/etc/passwd', 'FILE_CORRUPT'],
  ['..\\weights.bin', 'FILE_CORRUPT'],
  ['C:weights.bin', 'FILE_CORRUPT'],
  ['missing.bin', 'FILE_NOT_FOUND'],
])('weights at %s: %s, and nothing is written', async (location, code) => {
  await writeExternal(location, '');
  expect(await codeOf(rewriteFile(at('from', 'model.onnx'), at('to', 'new.onnx')))).toBe(code);
  expect(await readdir(at('to'))).toEqual([]);
});

test('a link that leads out of the folder is not followed', async () => {
  await writeExternal('weights.bin', '');
  await writeFile(at('secret'), new Uint8Array(100_000));
  await symlink(at('secret'), at('from', 'weights.bin'));
  expect(await codeOf(rewriteFile(at('from', 'model.onnx'), at('to', 'new.onnx')))).toBe('FILE_CORRUPT');
  expect(await readdir(at('to'))).toEqual([]);
});

test('a file of weights that ends too early is refused', async () => {
  await writeExternal('weights.bin');
  await truncate(at('from', 'weights.bin'), 1000);
  expect(await codeOf(rewriteFile(at('from', 'model.onnx'), at('to', 'new.onnx')))).toBe('FILE_TRUNCATED');
});

test('missing, cut and foreign files are refused', async () => {
  const target = at('to', 'new.onnx');
  expect(await codeOf(rewriteFile(at('from', 'none.onnx'), target))).toBe('FILE_NOT_FOUND');
  await writeFile(at('from', 'cut.onnx'), original.subarray(0, 1000));
  expect(await codeOf(rewriteFile(at('from', 'cut.onnx'), target))).toMatch(/^FILE_(TRUNCATED|CORRUPT)$/);
  await writeFile(at('from', 'text.onnx'), 'no model');
  expect(await codeOf(rewriteFile(at('from', 'text.onnx'), target))).toMatch(/^FILE_(TRUNCATED|CORRUPT)$/);
  await writeFile(at('from', 'empty.onnx'), '');
  expect(await codeOf(rewriteFile(at('from', 'empty.onnx'), target))).toBe('FILE_CORRUPT');
  expect(await codeOf(rewriteFile(at('from'), target))).toBe('FILE_NOT_FOUND');
  expect(await readdir(at('to'))).toEqual([]);
});

test('a target that cannot be written is refused', async () => {
  const source = at('from', 'model.onnx');
  await writeFile(source, original);
  expect(await codeOf(rewriteFile(source, at('to')))).toBe('INVALID_OPTION');
  expect(await codeOf(rewriteFile(source, at('nowhere', 'new.onnx')))).toBe('FILE_NOT_FOUND');
  expect(await codeOf(rewriteFile(source, join(source, 'new.onnx')))).toBe('FILE_NOT_FOUND');
  expect(await codeOf(rewriteFile(source, at('to', `${'n'.repeat(240)}.onnx`)))).toBe('FILE_NOT_FOUND');
  expect(await readdir(at('to'))).toEqual([]);
});
