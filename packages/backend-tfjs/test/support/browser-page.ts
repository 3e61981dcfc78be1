import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { optional, thoroughAvailability } from '@topk-attention/vitest-preset';
import { browserAvailability } from '@topk-attention/vitest-preset/browser';
import { type TestPage, withTestPage } from '@topk-attention/vitest-preset/browser-page';
import { expect } from 'vitest';
import type { PageResult } from './conformance-page/page.js';

/** The page with tf's GPU engines. */
export function withTfPage<T>(use: (page: TestPage) => Promise<T>): Promise<T> {
  const folder = new URL('./conformance-page/', import.meta.url);
  return withTestPage({ folder, ready: 'runPart', exclude: ['vitest'] }, use);
}

/** What says most of an engine, in headless Chromium. */
export function quickConformanceInBrowser(engine: 'webgl' | 'webgpu', least: number): void {
  optional(
    `conformance of tfjs on ${engine} in headless Chromium: primitives, traps`,
    browserAvailability(),
    () => runPart(engine, 'quick', least),
    900_000,
  );
}

/** The rest of the suite, which takes minutes. */
export function restOfConformanceInBrowser(engine: 'webgl' | 'webgpu', least: number): void {
  optional(
    `conformance of tfjs on ${engine} in headless Chromium: the rest`,
    [browserAvailability(), thoroughAvailability()],
    () => runPart(engine, 'rest', least),
    900_000,
  );
}

async function runPart(engine: 'webgl' | 'webgpu', part: 'quick' | 'rest', least: number): Promise<void> {
  await withTfPage(async (page) => {
    const manifest = createRequire(import.meta.url).resolve('@topk-attention/conformance/package.json');
    const goldens = page.urlOf(`${join(dirname(manifest), 'goldens')}/`);
    const call = `runPart('${engine}', ${JSON.stringify(goldens)}, '${part}')`;
    const { reports, engine: ran } = (await page.evaluate(call)) as PageResult;
    expect(ran).toBe(engine);
    expect(reports.filter(({ outcome }) => outcome === 'failed')).toEqual([]);
    expect(reports.filter(({ outcome }) => outcome === 'passed').length).toBeGreaterThan(least);
    expect(page.errors).toEqual([]);
  });
}
