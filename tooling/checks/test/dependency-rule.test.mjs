import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, test } from 'vitest';
import { dependencyRuleBreaches, importsOf } from '../dependency-rule.mjs';

/** @type {string[]} */
const folders = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/**
 * A repository with one file in one package.
 *
 * @param {string} folder
 * @param {string} name
 * @param {string} code
 * @param {object} [manifest]
 * @param {string} [file]
 */
function breachesOf(folder, name, code, manifest = {}, file = 'src/deep/file.ts') {
  const root = mkdtempSync(join(tmpdir(), 'topk-rule-'));
  folders.push(root);
  const write = (/** @type {string} */ path, /** @type {string} */ text) => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  };
  write('apps/qa-demo/package.json', JSON.stringify({ name: '@topk-attention/qa-demo' }));
  write('packages/core/package.json', JSON.stringify({ name: '@topk-attention/core' }));
  write('packages/nn/package.json', JSON.stringify({ name: '@topk-attention/nn' }));
  write('packages/app-kit/package.json', JSON.stringify({ name: '@topk-attention/app-kit', private: true }));
  write(
    `${folder}/package.json`,
    JSON.stringify({ name: `@topk-attention/${name}`, private: name === 'app-kit', ...manifest }),
  );
  write(`${folder}/${file}`, code);
  return dependencyRuleBreaches(root);
}

test.each([
  ['core imports nn', 'packages/core', 'core', `import { x } from '@topk-attention/nn';`, 'must not import'],
  ['core imports a library', 'packages/core', 'core', `import x from 'left-pad';`, 'nothing from outside'],
  ['core imports Node', 'packages/core', 'core', `import { x } from 'node:fs';`, 'nothing from outside'],
  [
    'nn imports models',
    'packages/nn',
    'nn',
    `import { x } from '@topk-attention/models';`,
    'must not import',
  ],
  [
    'a type counts too',
    'packages/nn',
    'nn',
    `import type { X } from '@topk-attention/models';`,
    'must not import',
  ],
  [
    'so does import().T',
    'packages/nn',
    'nn',
    `export type T = import('@topk-attention/models').X;`,
    'must not import',
  ],
  ['so does export from', 'packages/nn', 'nn', `export * from '@topk-attention/models';`, 'must not import'],
  ['so does import()', 'packages/nn', 'nn', `await import('@topk-attention/models');`, 'must not import'],
  [
    'a backend imports nn',
    'packages/backend-x',
    'x',
    `import { x } from '@topk-attention/nn';`,
    'must not import',
  ],
  [
    'an app is imported',
    'packages/nn',
    'nn',
    `import { x } from '@topk-attention/qa-demo';`,
    'nothing may import the app',
  ],
  [
    'an app imports an app',
    'apps/other',
    'other',
    `import { x } from '@topk-attention/qa-demo';`,
    'nothing may import the app',
  ],
  [
    'an example imports an app',
    'examples/page',
    'page',
    `import { x } from '@topk-attention/qa-demo';`,
    'nothing may import the app',
  ],
  [
    'a path leaves src',
    'packages/nn',
    'nn',
    `import { x } from '../../../core/src/index.js';`,
    'leaves the package',
  ],
  [
    'a path to a test',
    'packages/nn',
    'nn',
    `import { x } from '../../test/helper.js';`,
    'leaves the package',
  ],
  ['an engine, eagerly', 'packages/backend-x', 'x', `import { x } from 'onnxruntime-node';`, 'optional peer'],
  [
    'an engine, with inline type',
    'packages/backend-x',
    'x',
    `import { type X } from 'onnxruntime-node';`,
    'optional peer',
  ],
  ['Node, eagerly', 'packages/nn', 'nn', `import { x } from 'node:fs';`, 'only in Node'],
  [
    'a package imports app-kit',
    'packages/models',
    'models',
    `import { x } from '@topk-attention/app-kit';`,
    'must not import',
  ],
  [
    'Node in app-kit, outside src/node',
    'packages/app-kit',
    'app-kit',
    `import { x } from 'node:fs';`,
    'only in Node',
  ],
  ['a package without a rule', 'packages/stray', 'stray', '', 'no rule for this package'],
])('refuses: %s', (_, folder, name, code, message) => {
  const breaches = breachesOf(folder, name, code);
  expect(breaches).toHaveLength(1);
  expect(breaches[0]).toContain(message);
});

test('refuses a dependency in package.json that the code may not import', () => {
  const manifest = { dependencies: { '@topk-attention/nn': 'workspace:^' } };
  expect(breachesOf('packages/core', 'core', '', manifest).join()).toContain('core must not depend on');
});

test.each([
  ['packages/core', 'core', `import { x } from '../other.js'; // import '@topk-attention/nn'`],
  [
    'packages/core',
    'core',
    `/** @example import { x } from '@topk-attention/nn' */ export const a = 'from "left-pad"';`,
  ],
  ['packages/nn', 'nn', `import { x } from '@topk-attention/core/reference'; await import('node:fs');`],
  ['packages/backend-x', 'x', `import type { X } from 'onnxruntime-node'; await import('onnxruntime-node');`],
  [
    'apps/other',
    'other',
    `import { x } from '@topk-attention/nn'; import { y } from 'node:fs'; import 'onnxruntime-node';`,
  ],
  ['packages/app-kit', 'app-kit', `import { x } from '@topk-attention/nn';`],
  ['apps/other', 'other', `import { x } from '@topk-attention/app-kit/node';`],
])('accepts %s (%s): %s', (folder, name, code) => {
  expect(breachesOf(folder, name, code)).toEqual([]);
});

test('accepts Node in src/node of app-kit', () => {
  const code = `import { x } from 'node:fs';`;
  expect(breachesOf('packages/app-kit', 'app-kit', code, {}, 'src/node/cli/file.ts')).toEqual([]);
});

test('says the line', () => {
  expect(importsOf('a.ts', `\n\nimport { x } from 'y';`)).toEqual([
    { specifier: 'y', kind: 'value', line: 3 },
  ]);
});

test('this repository keeps the rule', () => {
  expect(dependencyRuleBreaches(fileURLToPath(new URL('../../..', import.meta.url)))).toEqual([]);
});
