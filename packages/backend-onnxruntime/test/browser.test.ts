import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { optional } from '@topk-attention/vitest-preset';
import { browserAvailability } from '@topk-attention/vitest-preset/browser';
import { withTestPage } from '@topk-attention/vitest-preset/browser-page';
import { expect } from 'vitest';
import type { PageResult } from './browser/page.js';

const TIMEOUT_MILLISECONDS = 900_000;

optional(
  'conformance on onnxruntime-web in headless Chromium',
  browserAvailability(),
  async () => {
    const options = {
      folder: new URL('./browser/', import.meta.url),
      ready: 'runAll',
      include: ['@topk-attention/onnxruntime > protobufjs/minimal.js'],
      exclude: ['onnxruntime-web', 'vitest'],
    };
    await withTestPage(options, async (page) => {
      const wasm = dirname(createRequire(import.meta.url).resolve('onnxruntime-web/wasm'));
      const goldens = fileURLToPath(new URL('../../conformance/goldens', import.meta.url));
      const folders = [wasm, goldens].map((folder) => JSON.stringify(`${page.urlOf(folder)}/`));
      const { reports, providers, runs } = (await page.evaluate(`runAll(${folders})`)) as PageResult;
      expect(reports.filter(({ outcome }) => outcome === 'failed')).toEqual([]);
      expect(reports.filter(({ outcome }) => outcome === 'passed').length).toBeGreaterThan(200);
      expect(providers).toContain('wasm');
      // 64 queries in chunks of 16: one run each.
      expect(runs).toBe(4);
    });
  },
  TIMEOUT_MILLISECONDS,
);
