import { mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { optional } from '@topk-attention/vitest-preset';
import { browserAvailability } from '@topk-attention/vitest-preset/browser';
import { expect } from 'vitest';
import { withExample } from './support/example-page.js';
import { tiny } from './support/settings.js';

const browser = browserAvailability();
const TIMEOUT_MILLISECONDS = 900_000;
// Kernels on a GPU in software: one evaluation, at the end.
const settings = { ...tiny, every: tiny.steps };
const pictures = fileURLToPath(new URL('../../../reports/train-in-the-browser/', import.meta.url));

optional(
  'on WebGPU: a run that pauses and loses its GPU ends with the same bits',
  browser,
  () =>
    withExample(async (page) => {
      await page.state('idle');
      await page.fill(settings);
      await page.click('start');
      await page.state('finished');
      const losses = await page.losses();
      expect(losses.at(-1)).toBeLessThan((losses[0] as number) - 0.1);
      expect(await page.textOf('device')).toMatch(/swiftshader/i);
      const whole = await page.exported();
      await mkdir(pictures, { recursive: true });
      for (const colorScheme of ['light', 'dark'] as const) {
        await page.page.emulateMedia({ colorScheme });
        await page.page.screenshot({ path: `${pictures}${colorScheme}.png`, fullPage: true });
      }

      await page.click('discard');
      await page.state('idle');
      await page.click('start');
      await page.stepsMade(2);
      await page.click('pause');
      await page.state('paused');
      // Without a reload, which would compile all kernels once more: page.test.ts has it.
      await page.click('continue');
      await page.stepsMade(6); // after the checkpoint of the pause
      const session = await page.page.context().browser()?.newBrowserCDPSession();
      // The process of the GPU dies, as with a driver that is reset.
      await session?.send('Browser.crashGpuProcess');
      await expect(page.state('finished')).rejects.toThrow('The GPU was lost');
      await page.run('continue');
      await page.state('finished');
      expect(await page.losses()).toEqual(losses);
      expect(Buffer.compare((await page.exported()).bytes, whole.bytes)).toBe(0);
    }),
  TIMEOUT_MILLISECONDS,
);

optional(
  'on WebGPU: exact attention trains as well',
  browser,
  () =>
    withExample(async (page) => {
      await page.state('idle');
      await page.fill({ ...settings, steps: '3' });
      await page.fill({ mechanism: 'exact' });
      await page.click('start');
      await page.state('finished');
      const losses = await page.losses();
      expect(losses.length).toBe(3);
      expect(losses.every(Number.isFinite)).toBe(true);
      expect(await page.page.isHidden('#k-field')).toBe(true);
    }),
  TIMEOUT_MILLISECONDS,
);
