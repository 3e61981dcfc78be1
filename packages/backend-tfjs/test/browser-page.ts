import { fileURLToPath } from 'node:url';
import { type TestPage, withTestPage } from '@topk-attention/vitest-preset/browser-page';
import { expect } from 'vitest';
import type { PageResult } from './browser/page.js';

/** The page with tf's GPU engines. */
export function withTfPage<T>(use: (page: TestPage) => Promise<T>): Promise<T> {
  const folder = new URL('./browser/', import.meta.url);
  return withTestPage({ folder, ready: 'runAll', exclude: ['vitest'] }, use);
}

/** The suite on an engine in headless Chromium. */
export async function conformanceInBrowser(engine: 'webgl' | 'webgpu'): Promise<void> {
  await withTfPage(async (page) => {
    const goldens = page.urlOf(fileURLToPath(new URL('../../conformance/goldens/', import.meta.url)));
    const call = `runAll('${engine}', ${JSON.stringify(goldens)})`;
    const { reports, engine: ran } = (await page.evaluate(call)) as PageResult;
    expect(ran).toBe(engine);
    expect(reports.filter(({ outcome }) => outcome === 'failed')).toEqual([]);
    expect(reports.filter(({ outcome }) => outcome === 'passed').length).toBeGreaterThan(
      engine === 'webgl' ? 500 : 650,
    );
    expect(page.errors).toEqual([]);
  });
}
