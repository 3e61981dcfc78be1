import { fileURLToPath } from 'node:url';
import { optional, thoroughAvailability } from '@topk-attention/vitest-preset';
import { browserAvailability } from '@topk-attention/vitest-preset/browser';
import { withTestPage } from '@topk-attention/vitest-preset/browser-page';
import { expect } from 'vitest';
import type { PageResult } from './page.js';

const TIMEOUT_MILLISECONDS = 900_000;

async function conformance(part: 'primitives' | 'sample', least: number): Promise<void> {
  const folder = new URL('./', import.meta.url);
  await withTestPage({ folder, ready: 'runPart', exclude: ['vitest', 'webgpu'] }, async (page) => {
    const goldens = page.urlOf(fileURLToPath(new URL('../../../conformance/goldens/', import.meta.url)));
    const call = `runPart(${JSON.stringify(goldens)}, '${part}')`;
    const { reports, doctor } = (await page.evaluate(call)) as PageResult;
    expect(reports.filter(({ outcome }) => outcome === 'failed')).toEqual([]);
    expect(reports.filter(({ outcome }) => outcome === 'passed').length).toBeGreaterThan(least);
    expect(doctor).toMatchObject({ ok: true, provider: 'navigator.gpu' });
    expect(page.errors).toEqual([]);
  });
}

const browser = browserAvailability();

optional(
  'conformance on WebGPU in headless Chromium: a sample of the primitives',
  browser,
  () => conformance('primitives', 80),
  TIMEOUT_MILLISECONDS,
);

optional(
  'conformance on WebGPU in headless Chromium: a sample of the rest',
  [browser, thoroughAvailability()],
  () => conformance('sample', 28),
  TIMEOUT_MILLISECONDS,
);
