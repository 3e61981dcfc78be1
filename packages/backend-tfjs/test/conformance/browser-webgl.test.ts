import { optional } from '@topk-attention/vitest-preset';
import { browserAvailability } from '@topk-attention/vitest-preset/browser';
import { expect } from 'vitest';
import {
  quickConformanceInBrowser,
  restOfConformanceInBrowser,
  withTfPage,
} from '../support/browser-page.js';

quickConformanceInBrowser('webgl', 100);
restOfConformanceInBrowser('webgl', 120);

optional('a lost WebGL context rejects, also what is asked for later', browserAvailability(), async () => {
  await withTfPage(async (page) => {
    expect(await page.evaluate('loseContext()')).toEqual({
      before: [2, 3, 4],
      code: 'DEVICE_LOST',
      later: 'DEVICE_LOST',
    });
  });
});
