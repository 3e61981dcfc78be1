import { optional } from '@topk-attention/vitest-preset';
import { browserAvailability } from '@topk-attention/vitest-preset/browser';
import { withTestPage } from '@topk-attention/vitest-preset/browser-page';
import { expect } from 'vitest';
import type { Outcome } from './page.js';

optional(
  'engines in workers of headless Chromium: events, errors, aborts, crashes',
  browserAvailability(),
  async () => {
    await withTestPage({ folder: new URL('./', import.meta.url), ready: 'run' }, async (page) => {
      const outcome = (await page.evaluate('run()')) as Outcome;
      expect(outcome).toEqual({
        echoes: ['ab', 'xyz'],
        events: [0, 1],
        reported: 'ReportedError: too large.',
        aborted: 'enough',
        crashed: expect.stringMatching(/ENGINE_FAILURE|the worker that runs the engine failed.*last words/),
        afterwards: [expect.stringMatching(/has ended/), expect.stringMatching(/failed.*last words/)],
      });
    });
  },
  300_000,
);
