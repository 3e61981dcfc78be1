import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { optional } from '@topk-attention/vitest-preset';
import { browserAvailability, launchBrowser } from '@topk-attention/vitest-preset/browser';
import { SOURCE_CONDITION } from '@topk-attention/vitest-preset/preset';
import { expect } from 'vitest';
import { createViteServer } from 'vitest/node';
import type { PageResult } from './browser/page.js';

const TIMEOUT_MILLISECONDS = 240_000;

optional(
  'conformance on onnxruntime-web in headless Chromium',
  browserAvailability(),
  async () => {
    const wasm = dirname(createRequire(import.meta.url).resolve('onnxruntime-web/wasm'));
    const server = await createViteServer({
      configFile: false,
      root: fileURLToPath(new URL('./browser', import.meta.url)),
      logLevel: 'error',
      server: {
        host: '127.0.0.1',
        port: 0,
        fs: { allow: [fileURLToPath(new URL('../../..', import.meta.url))] },
      },
      resolve: { conditions: [SOURCE_CONDITION, 'module', 'browser', 'import', 'default'] },
      optimizeDeps: {
        include: ['@topk-attention/onnxruntime > protobufjs/minimal.js'],
        exclude: ['onnxruntime-web', 'vitest'],
      },
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
      const files = `${server.resolvedUrls?.local[0]}@fs`;
      const goldens = fileURLToPath(new URL('../../conformance/goldens', import.meta.url));
      const folders = [`${files}${wasm}/`, `${files}${goldens}/`].map((folder) => JSON.stringify(folder));
      const { reports, providers, runs } = (await page.evaluate(`runAll(${folders})`)) as PageResult;
      expect(reports.filter(({ outcome }) => outcome === 'failed')).toEqual([]);
      expect(reports.filter(({ outcome }) => outcome === 'passed').length).toBeGreaterThan(200);
      expect(providers).toContain('wasm');
      // 64 queries in chunks of 16: one run each.
      expect(runs).toBe(4);
    } finally {
      await browser.close();
      await server.close();
    }
  },
  TIMEOUT_MILLISECONDS,
);
