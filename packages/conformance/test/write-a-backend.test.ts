import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { describeConformance } from '../src/index.js';
import { createArrayBackend } from './example/array-backend.js';

const page = await readFile(new URL('../../../docs/write-a-backend.md', import.meta.url), 'utf8');

/** The blocks of the page that belong to a file, put together. */
function blocksOf(file: string): string {
  const fence = new RegExp(
    `^\`\`\`ts no-run: part of ${file.replaceAll('.', '\\.')}\n(.*?)\n^\`\`\`$`,
    'gms',
  );
  return `${Array.from(page.matchAll(fence), ([, code]) => code).join('\n\n')}\n`;
}

test('the blocks of docs/write-a-backend.md, put together, are the backend that is tested here', async () => {
  const code = await readFile(new URL('example/array-backend.ts', import.meta.url), 'utf8');
  expect(blocksOf('array-backend.ts')).toBe(code);
});

test('the page declares the suite as this file does', async () => {
  expect(blocksOf('array-backend.test.ts')).toContain(
    "await describeConformance({ name: 'array', createBackend: createArrayBackend });",
  );
});

await describeConformance({ name: 'array', createBackend: createArrayBackend });
