import { fileURLToPath } from 'node:url';
import type { LaunchOptions, Page } from 'playwright-core';
import { createViteServer } from 'vitest/node';
import { launchBrowser } from './browser.ts';
import { SOURCE_CONDITION } from './preset.ts';

/** A page of a test, open in headless Chromium. */
export interface TestPage {
  /** Evaluates an expression in the page. */
  evaluate(expression: string): Promise<unknown>;
  /** The address at which the page finds a file or folder of the repository. */
  urlOf(path: string): string;
  /** For tests that act as a reader does: clicks, reloads, downloads. */
  readonly page: Page;
  /** Errors that the page threw or wrote to its console so far. */
  readonly errors: readonly string[];
}

export interface TestPageOptions {
  /** The folder of index.html. */
  readonly folder: URL;
  /** The global that the page defines when it is ready. */
  readonly ready: string;
  /** Packages that Vite prepares beforehand (`include`) or leaves alone (`exclude`). */
  readonly include?: readonly string[];
  readonly exclude?: readonly string[];
  /** How the browser is started. */
  readonly launch?: LaunchOptions;
}

/** Serves a page from source, opens it, hands it to `use`, and closes everything again. */
export async function withTestPage<T>(
  { folder, ready, include = [], exclude = [], launch }: TestPageOptions,
  use: (page: TestPage) => Promise<T>,
): Promise<T> {
  const server = await createViteServer({
    configFile: false,
    root: fileURLToPath(folder),
    logLevel: 'error',
    server: {
      host: '127.0.0.1',
      port: 0,
      // Nobody edits files while a test runs.
      watch: null,
      fs: { allow: [fileURLToPath(new URL('../../..', import.meta.url))] },
    },
    resolve: { conditions: [SOURCE_CONDITION, 'module', 'browser', 'import', 'default'] },
    optimizeDeps: { include: [...include], exclude: [...exclude] },
    cacheDir: fileURLToPath(new URL('../../.cache/vite', folder)),
  });
  const browser = await launchBrowser(launch);
  try {
    await server.listen();
    const page = await browser.newPage();
    const errors: string[] = [];
    page.on('pageerror', (error) => errors.push(String(error)));
    page.on('console', (message) => {
      if (message.type() === 'error') errors.push(message.text());
    });
    const address = server.resolvedUrls?.local[0] ?? '';
    // A loaded machine takes longer than the default of half a minute.
    await page.goto(address, { timeout: 300_000 });
    try {
      await page.waitForFunction(`globalThis.${ready} !== undefined`, undefined, { timeout: 300_000 });
    } catch (error) {
      throw new Error(`the page did not load: ${errors.join('; ')}`, { cause: error });
    }
    return await use({
      evaluate: (expression) => page.evaluate(expression),
      page,
      urlOf: (path) => `${address}@fs${path}`,
      errors,
    });
  } finally {
    await browser.close();
    await server.close();
  }
}
