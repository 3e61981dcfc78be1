// What programs pass by mistake: typed errors that say what to pass.
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { TopKError } from '@topk-attention/core';
import { readTestModel } from '@topk-attention/onnx-models';
import * as ort from 'onnxruntime-node';
import { expect, test } from 'vitest';
import { learnAxes, rewriteFile, rewriteModel } from '../../src/rewrite/index.js';

const bytes = readTestModel('block-bert4');

async function failureOf(call: () => unknown): Promise<TopKError> {
  try {
    await call();
  } catch (error) {
    if (error instanceof TopKError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

const wrong = (value: unknown): never => value as never;

test('bytes may be an ArrayBuffer, as fetch gives it, or a view of one', () => {
  const buffer = new Uint8Array(bytes).buffer;
  const expected = rewriteModel(bytes).model;
  for (const given of [buffer, new DataView(buffer), Buffer.from(buffer)]) {
    expect(Buffer.compare(rewriteModel(wrong(given)).model, expected)).toBe(0);
  }
});

test.each<[unknown, string]>([
  ['model.onnx', 'call rewriteFile'],
  [new URL('file:///model.onnx'), 'call rewriteFile'],
  [undefined, 'readFile or fetch'],
  [null, 'readFile or fetch'],
  [[1, 2], 'readFile or fetch'],
])('%o is no model', async (given, fix) => {
  for (const call of [() => rewriteModel(wrong(given)), () => learnAxes(wrong(given), ort)]) {
    const error = await failureOf(call);
    expect(error.code).toBe('INVALID_OPTION');
    expect(error.message).toContain('a Uint8Array or an ArrayBuffer');
    expect(error.fix).toContain(fix);
  }
});

test.each<[object, string]>([
  [{ attention: { k: 3, chunk: 4 } }, 'chunk'],
  [{ attention: { k: '3' } }, 'attention.k'],
  [{ attention: {} }, 'attention.k'],
  [{ attention: 'top-k' }, 'attention'],
  [{ contrib: 'yes' }, 'contrib'],
  [{ feedForward: { k: 3, selct: 'signed' } }, 'selct'],
  [{ learned: { observed: 3 } }, 'learned'],
  [{ learned: { observed: [], choices: [] } }, 'learned'],
])('%o is refused', async (options, name) => {
  const error = await failureOf(() => rewriteModel(bytes, wrong(options)));
  expect(error.code).toMatch(/^INVALID_(OPTION|K)$/);
  expect(error.message).toContain(name);
});

test('files may be URLs; what is neither a path nor a file URL is refused', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'topk-arguments-'));
  try {
    const [source, target] = [join(folder, 'a b.onnx'), join(folder, 'c.onnx')];
    await writeFile(source, bytes);
    await rewriteFile(pathToFileURL(source), pathToFileURL(target));
    expect((await stat(target)).size).toBeGreaterThan(0);
    for (const place of [undefined, '', 3, new URL('https://example.org/model.onnx')]) {
      expect(await failureOf(() => rewriteFile(wrong(place), join(folder, 'd.onnx')))).toMatchObject({
        code: 'INVALID_OPTION',
        message: expect.stringContaining('bad source'),
      });
      expect(await failureOf(() => rewriteFile(source, wrong(place)))).toMatchObject({
        code: 'INVALID_OPTION',
        message: expect.stringContaining('bad target'),
      });
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
