import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { AttentionBenchOptions, BenchReport } from './attention-bench.js';

interface Page {
  on(event: 'console', listener: (message: { text(): string }) => void): void;
  goto(address: string): Promise<unknown>;
  evaluate(script: string): Promise<unknown>;
}

interface Browser {
  newPage(): Promise<Page>;
  close(): Promise<void>;
}

interface Bundler {
  bundle(entry: string, options: { readonly platform: 'node' | 'browser' }): Promise<string>;
}

const compiled: string = dirname(fileURLToPath(import.meta.url));
const root: string = join(compiled, '..', '..', '..');

/**
 * The same benchmark in a page: in the headless Chromium from npm, whose GPU is simulated, or in the Chromium at a path,
 * with the GPU it finds.
 */
export async function runInBrowser(
  options: AttentionBenchOptions,
  chromium: string | undefined,
  log: (text: string) => void,
): Promise<BenchReport> {
  const { bundle }: Bundler = await import(
    pathToFileURL(join(root, 'tooling', 'gpu-machine', 'bundle.mjs')).href
  );
  const script = await bundle(join(compiled, 'browser-page.js'), { platform: 'browser' });
  const server = createServer((request, response) => {
    const isScript = request.url === '/bench.mjs';
    response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html');
    response.end(isScript ? script : '<!doctype html><title>bench</title>');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const browser = await launch(chromium, bundle);
  try {
    const page = await browser.newPage();
    page.on('console', (message) => log(message.text()));
    await page.goto(`http://127.0.0.1:${port}/`);
    const made = await page.evaluate(
      `import('/bench.mjs').then(() => globalThis.runBench(${JSON.stringify(options)}))`,
    );
    return made as BenchReport;
  } finally {
    await browser.close();
    server.close();
  }
}

async function launch(path: string | undefined, bundle: Bundler['bundle']): Promise<Browser> {
  const preset = join(root, 'tooling', 'vitest');
  if (path === undefined) {
    // The launcher of the tests is TypeScript; it finds its files from its own place, two folders below `tooling`.
    const { mkdirSync, writeFileSync } = await import('node:fs');
    const folder = join(preset, '.bench');
    mkdirSync(folder, { recursive: true });
    const file = join(folder, 'browser.mjs');
    writeFileSync(file, await bundle(join(preset, 'src', 'browser.ts'), { platform: 'node' }));
    const { launchBrowser }: { launchBrowser(): Promise<Browser> } = await import(pathToFileURL(file).href);
    return launchBrowser();
  }
  const playwright = createRequire(join(preset, 'package.json')).resolve('playwright-core');
  const loaded: { default: { chromium: { launch(options: object): Promise<Browser> } } } = await import(
    pathToFileURL(playwright).href
  );
  const flags = ['--enable-unsafe-webgpu', '--enable-features=Vulkan', '--no-sandbox'];
  return loaded.default.chromium.launch({ executablePath: path, headless: true, args: flags });
}
