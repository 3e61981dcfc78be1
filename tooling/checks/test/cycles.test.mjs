import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { circlesOf, cycleBreaches } from '../cycles.mjs';

/** @type {string} */
let folder;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cycles-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** @type {(files: Record<string, string>) => string[]} */
function circles(files) {
  for (const [name, code] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), code);
  }
  return circlesOf(folder);
}

test('files in a row are no circle', () => {
  expect(
    circles({
      'index.ts': "export * from './a/one.js';",
      'a/one.ts':
        "import { two } from './two.js'; import { b } from '../b/b.js'; export const one = [two, b];",
      'a/two.ts': "import type { B } from '../b/b.js'; export const two: B = 2;",
      'b/b.ts': 'export type B = number; export const b = 1;',
    }),
  ).toEqual([]);
});

test('type-only circles of files are found', () => {
  const found = circles({
    'a.ts': "import type { B } from './b.js'; export interface A { b: B }",
    'b.ts': "export interface B { a: import('./c.js').C }",
    'c.ts': "import { type A } from './a.js'; export type C = A;",
  });
  expect(found).toContain('files form an import cycle: a.ts, b.ts, c.ts');
});

test('folders that import each other are found, though no file does', () => {
  const found = circles({
    'a/one.ts': "import { x } from '../b/one.js'; export const y = x;",
    'a/two.ts': 'export const z = 1;',
    'b/one.ts': 'export const x = 1;',
    'b/two.ts': "import { z } from '../a/two.js'; export const w = z;",
  });
  expect(found).toEqual(['folders form an import cycle: a, b']);
});

test('the repository has no circles but those that are listed', () => {
  expect(cycleBreaches(fileURLToPath(new URL('../../..', import.meta.url)))).toEqual([]);
});
