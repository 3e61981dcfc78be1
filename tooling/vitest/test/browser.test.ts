import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, expect } from 'vitest';
import { browserAvailability, launchBrowser } from '../src/browser.ts';
import { optional } from '../src/index.ts';

const server = createServer((_, response) => {
  response.setHeader('content-type', 'text/html');
  response.end('<!doctype html><title>empty</title>');
});
afterAll(() => server.close());

optional('headless Chromium from npm has a WebGPU adapter', browserAvailability(), async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const browser = await launchBrowser();
  try {
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    const vendor: unknown = await page.evaluate(
      `navigator.gpu.requestAdapter().then((a) => a && a.info.vendor)`,
    );
    expect(vendor).toBe('google');
  } finally {
    await browser.close();
  }
});
