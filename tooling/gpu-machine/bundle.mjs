import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');

/**
 * One module with everything but `webgpu` (and, for Node, the packages of the browser launcher), by Vite's own bundler, so
 * that the repository needs no second one.
 *
 * @param {string} entry
 * @param {{ platform: 'node' | 'browser' }} options
 * @returns {Promise<string>}
 */
export async function bundle(entry, { platform }) {
  const vite = createRequire(join(root, 'package.json')).resolve('vite/package.json');
  const { rolldown } = await import(pathToFileURL(createRequire(vite).resolve('rolldown')).href);
  const made = await rolldown({
    input: entry,
    platform,
    external: ['webgpu', /^node:/, 'playwright-core', '@sparticuz/chromium'],
    resolve: { conditionNames: ['import', 'default'] },
    logLevel: 'warn',
  });
  const { output } = await made.generate({ format: 'esm', codeSplitting: false });
  return output[0].code;
}
