import { fileURLToPath } from 'node:url';
import { optional } from '@topk-attention/vitest-preset';
import { browserAvailability } from '@topk-attention/vitest-preset/browser';
import { withTestPage } from '@topk-attention/vitest-preset/browser-page';
import { expect } from 'vitest';
import type { PageResult } from './browser/page.js';

const TIMEOUT_MILLISECONDS = 480_000;

optional(
  'conformance on WebGPU in headless Chromium',
  browserAvailability(),
  async () => {
    const folder = new URL('./browser/', import.meta.url);
    await withTestPage({ folder, ready: 'runAll', exclude: ['vitest', 'webgpu'] }, async (page) => {
      const goldens = page.urlOf(fileURLToPath(new URL('../../conformance/goldens/', import.meta.url)));
      const { reports, doctor } = (await page.evaluate(`runAll(${JSON.stringify(goldens)})`)) as PageResult;
      expect(reports.filter(({ outcome }) => outcome === 'failed')).toEqual([]);
      expect(reports.filter(({ outcome }) => outcome === 'passed').length).toBeGreaterThan(700);
      expect(doctor).toMatchObject({ ok: true, provider: 'navigator.gpu' });
      expect(page.errors).toEqual([]);
    });
  },
  TIMEOUT_MILLISECONDS,
);
