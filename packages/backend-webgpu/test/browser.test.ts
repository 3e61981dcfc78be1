import { fileURLToPath } from 'node:url';
import { optional } from '@topk-attention/vitest-preset';
import { browserAvailability, launchBrowser } from '@topk-attention/vitest-preset/browser';
import { SOURCE_CONDITION } from '@topk-attention/vitest-preset/preset';
import { expect } from 'vitest';
import { createViteServer } from 'vitest/node';
import type { PageResult } from './browser/page.js';

const TIMEOUT_MILLISECONDS = 480_000;

optional(
  'conformance on WebGPU in headless Chromium',
  browserAvailability(),
  async () => {
    const server = await createViteServer({
      configFile: false,
      root: fileURLToPath(new URL('./browser', import.meta.url)),
      logLevel: 'error',
      server: {
        host: '127.0.0.1',
        port: 0,
        // Files are edited by nobody while a test runs.
        watch: null,
        fs: { allow: [fileURLToPath(new URL('../../..', import.meta.url))] },
      },
      resolve: { conditions: [SOURCE_CONDITION, 'module', 'browser', 'import', 'default'] },
      optimizeDeps: { exclude: ['vitest', 'webgpu'] },
      cacheDir: fileURLToPath(new URL('../.cache/vite', import.meta.url)),
    });
    const browser = await launchBrowser();
    try {
      await server.listen();
      const page = await browser.newPage();
      const errors: string[] = [];
      page.on('pageerror', (error) => errors.push(String(error)));
      page.on('console', (message) => {
        if (message.type() === 'error') errors.push(message.text());
      });
      await page.goto(server.resolvedUrls?.local[0] ?? '');
      try {
        await page.waitForFunction('globalThis.runAll !== undefined', undefined, { timeout: 60_000 });
      } catch (error) {
        throw new Error(`the page did not load: ${errors.join('; ')}`, { cause: error });
      }
      const goldens = fileURLToPath(new URL('../../conformance/goldens', import.meta.url));
      const folder = JSON.stringify(`${server.resolvedUrls?.local[0]}@fs${goldens}/`);
      const { reports, doctor } = (await page.evaluate(`runAll(${folder})`)) as PageResult;
      expect(reports.filter(({ outcome }) => outcome === 'failed')).toEqual([]);
      expect(reports.filter(({ outcome }) => outcome === 'passed').length).toBeGreaterThan(400);
      expect(doctor).toMatchObject({ ok: true, provider: 'navigator.gpu' });
      expect(errors).toEqual([]);
    } finally {
      await browser.close();
      await server.close();
    }
  },
  TIMEOUT_MILLISECONDS,
);
