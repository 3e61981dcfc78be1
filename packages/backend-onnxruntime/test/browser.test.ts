import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { optional, thoroughAvailability } from '@topk-attention/vitest-preset';
import { browserAvailability } from '@topk-attention/vitest-preset/browser';
import { withTestPage } from '@topk-attention/vitest-preset/browser-page';
import { expect } from 'vitest';
import type { PageResult } from './browser/page.js';

const TIMEOUT_MILLISECONDS = 900_000;

async function conformance(part: 'primitives' | 'layers', least: number): Promise<void> {
  const options = {
    folder: new URL('./browser/', import.meta.url),
    ready: 'runPart',
    include: ['@topk-attention/onnxruntime > protobufjs/minimal.js'],
    exclude: ['onnxruntime-web', 'vitest'],
  };
  await withTestPage(options, async (page) => {
    const wasm = dirname(createRequire(import.meta.url).resolve('onnxruntime-web/wasm'));
    const goldens = fileURLToPath(new URL('../../conformance/goldens', import.meta.url));
    const folders = [wasm, goldens].map((folder) => JSON.stringify(`${page.urlOf(folder)}/`));
    const call = `runPart(${folders}, '${part}')`;
    const { reports, providers, runs } = (await page.evaluate(call)) as PageResult;
    expect(reports.filter(({ outcome }) => outcome === 'failed')).toEqual([]);
    expect(reports.filter(({ outcome }) => outcome === 'passed').length).toBeGreaterThan(least);
    expect(providers).toContain('wasm');
    // 64 queries in chunks of 16: one run each.
    expect(runs).toBe(4);
  });
}

const browser = browserAvailability();

optional(
  'conformance on onnxruntime-web in headless Chromium: primitives, traps',
  browser,
  () => conformance('primitives', 200),
  TIMEOUT_MILLISECONDS,
);

optional(
  'conformance on onnxruntime-web in headless Chromium: a sample of goldens, attention, feed-forward',
  browser.available ? thoroughAvailability() : browser,
  () => conformance('layers', 100),
  TIMEOUT_MILLISECONDS,
);
