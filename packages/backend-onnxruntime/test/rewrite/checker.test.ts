import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readTestModel, testModels } from '@topk-attention/onnx-models';
import { optional } from '@topk-attention/vitest-preset';
import { expect } from 'vitest';
import { type RewriteOptions, rewriteModel } from '../../src/rewrite/index.js';
import { checkOnnx, onnxAvailability } from '../support/onnx-python.js';

optional('onnx.checker passes every rewritten model', onnxAvailability(), async () => {
  const folder = await mkdtemp(join(tmpdir(), 'topk-checker-'));
  try {
    const ways: readonly RewriteOptions[] = [
      { attention: 'exact' },
      { attention: { k: 8 }, feedForward: 'chunked' },
      { feedForward: { k: 5 } },
      { contrib: true },
    ];
    const files: string[] = [];
    for (const { name } of testModels) {
      for (const [at, options] of ways.entries()) {
        const file = join(folder, `${name}-${at}.onnx`);
        await writeFile(file, rewriteModel(readTestModel(name), options).model);
        files.push(file);
      }
    }
    expect(checkOnnx(files)).toEqual({});
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
