import { optional } from '@topk-attention/vitest-preset';
import { browserAvailability } from '@topk-attention/vitest-preset/browser';
import { expect } from 'vitest';
import { conformanceInBrowser, withTfPage } from './browser-page.js';

const browser = browserAvailability();

optional(
  'conformance of tfjs on WebGL in headless Chromium',
  browser,
  () => conformanceInBrowser('webgl'),
  480_000,
);

optional('a lost WebGL context rejects, also what is asked for later', browser, async () => {
  await withTfPage(async (page) => {
    expect(await page.evaluate('loseContext()')).toEqual({
      before: [2, 3, 4],
      code: 'DEVICE_LOST',
      later: 'DEVICE_LOST',
    });
  });
});
