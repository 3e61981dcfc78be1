import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SOURCE_CONDITION } from '@topk-attention/vitest-preset/preset';
import { build } from 'vite';
import { afterAll } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));

/**
 * A script of this folder as one file with the packages of this workspace, from their sources: what a process of its own can
 * run without a build. It lies where engines are found, until the tests of the file are over.
 */
export async function bundle(script: string): Promise<string> {
  const folder = await mkdtemp(join(root, 'node_modules', '.bundle-'));
  afterAll(() => rm(folder, { recursive: true }));
  const conditions = [SOURCE_CONDITION, 'module', 'node', 'import', 'default'];
  await build({
    configFile: false,
    root,
    logLevel: 'error',
    resolve: { conditions },
    ssr: { noExternal: [/^@topk-attention\//], resolve: { conditions, externalConditions: conditions } },
    build: {
      ssr: fileURLToPath(new URL(script, import.meta.url)),
      outDir: folder,
      rolldownOptions: { output: { entryFileNames: 'bundle.mjs', codeSplitting: false } },
    },
  });
  return join(folder, 'bundle.mjs');
}
