// Numbers of a config.json that ask for more than any machine has: errors of the project, before anything is made.
import { readFile } from 'node:fs/promises';
import { TopKError } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { goldensFolder } from '@topk-attention/t5-goldens';
import { expect, test } from 'vitest';
import { loadModel } from '../../src/index.js';
import { MemorySource } from '../support/sources.js';

const MEBIBYTE = 2 ** 20;

test.each([
  't5-v1_1',
  'encoders/bert',
  'encoders/distilbert',
  'encoders/roberta',
  'causal-lm/gpt2',
  'causal-lm/llama-3',
])('%s', async (folder) => {
  const place = `${goldensFolder}/${folder}`;
  const config: { readonly [key: string]: unknown } = JSON.parse(
    await readFile(`${place}/config.json`, 'utf8'),
  );
  const weights = new Uint8Array(await readFile(`${place}/model.safetensors`));
  const backend = createReferenceBackend();
  const keys = Object.keys(config).filter((key) => typeof config[key] === 'number');
  expect(keys.length).toBeGreaterThan(5);
  const before = process.memoryUsage().rss;
  let refused = 0;
  for (const key of [...keys, 'num_labels']) {
    for (const value of [2 ** 30, Number.MAX_SAFE_INTEGER, 1e300]) {
      const changed = JSON.stringify({ ...config, id2label: undefined, [key]: value });
      const source = new MemorySource({ 'config.json': changed, 'model.safetensors': weights });
      try {
        (await loadModel(source, { backend, tokenizer: false })).dispose();
      } catch (error) {
        if (!(error instanceof TopKError)) throw new Error(`${key}: ${value}`, { cause: error });
        refused++;
      }
      expect(source.openFiles).toBe(0);
    }
  }
  expect(refused).toBeGreaterThan(keys.length);
  expect(backend.memory().live).toBe(0);
  expect(process.memoryUsage().rss - before).toBeLessThan(300 * MEBIBYTE);
});
