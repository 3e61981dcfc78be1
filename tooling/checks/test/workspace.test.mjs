import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { looseActions, staleFiles, withoutVersion } from '../workspace.mjs';

/** @type {string[]} */
const folders = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

const source = '@topk-attention/source';

/** A workspace with core, as it should be but for its references. @param {Record<string, unknown>} [more] */
function workspace(more = {}) {
  const root = mkdtempSync(join(tmpdir(), 'topk-workspace-'));
  folders.push(root);
  const files = {
    'package.json': {
      author: 'A',
      license: 'MIT',
      engines: { node: '>=20' },
      repository: 'https://example.org/o/r',
    },
    'tsconfig.json': { files: [] },
    'tsconfig.build.json': { files: [] },
    'tooling/tsconfig.json': {},
    'apps/.keep': '',
    'examples/.keep': '',
    'packages/core/package.json': {
      name: '@topk-attention/core',
      version: '0.0.0',
      description: 'C',
      exports: {
        '.': { [source]: './src/index.ts', types: './dist/index.d.ts' },
        './package.json': './package.json',
      },
    },
    'packages/core/tsconfig.json': { references: [] },
    'packages/core/test/tsconfig.json': { references: [{ path: '..' }] },
    ...more,
  };
  for (const [file, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), typeof content === 'string' ? content : JSON.stringify(content));
  }
  return root;
}

/** @param {string} root */
function sync(root) {
  for (const { file, wanted } of staleFiles(root)) writeFileSync(join(root, file), JSON.stringify(wanted));
}

const read = (/** @type {string} */ root, /** @type {string} */ file) =>
  JSON.parse(readFileSync(join(root, file), 'utf8'));

test('what is stale is named, and written once', () => {
  const root = workspace();
  const stale = staleFiles(root).map(({ file }) => file);
  expect(stale).toEqual([
    'tsconfig.build.json',
    'tooling/tsconfig.json',
    'tsconfig.json',
    'packages/core/package.json',
  ]);
  sync(root);
  expect(staleFiles(root)).toEqual([]);
  expect(read(root, 'tsconfig.json').references.map((/** @type {any} */ { path }) => path)).toEqual([
    'packages/core',
    'packages/core/test',
    'tooling',
  ]);
  expect(read(root, 'packages/core/package.json')).toMatchObject({
    author: 'A',
    license: 'MIT',
    homepage: 'https://example.org/o/r/tree/HEAD/packages/core#readme',
    repository: { type: 'git', url: 'git+https://example.org/o/r.git', directory: 'packages/core' },
    bugs: 'https://example.org/o/r/issues',
    publishConfig: {
      access: 'public',
      exports: { '.': { types: './dist/index.d.ts' }, './package.json': './package.json' },
    },
  });
});

test('a new package and a new dependency need nothing but their manifest', () => {
  const root = workspace({
    'packages/kit/package.json': {
      name: '@topk-attention/kit',
      version: '0.0.0',
      private: true,
      dependencies: { '@topk-attention/core': 'workspace:*' },
    },
    'packages/kit/tsconfig.json': {},
  });
  sync(root);
  expect(staleFiles(root)).toEqual([]);
  expect(read(root, 'packages/kit/tsconfig.json').references).toEqual([{ path: '../../packages/core' }]);
  expect(read(root, 'packages/kit/package.json')).not.toHaveProperty('publishConfig');
  expect(read(root, 'tsconfig.build.json').references).toContainEqual({ path: 'packages/kit' });
});

test('a page is checked, not built', () => {
  const root = workspace({
    'examples/page/package.json': { name: '@topk-attention/page', version: '0.0.0', private: true },
    'examples/page/tsconfig.json': {},
    'examples/page/index.html': '',
  });
  sync(root);
  expect(staleFiles(root)).toEqual([]);
  expect(read(root, 'tsconfig.json').references).toContainEqual({ path: 'examples/page' });
  expect(read(root, 'tsconfig.build.json').references).not.toContainEqual({ path: 'examples/page' });
});

test('every package has a version', () => {
  const root = workspace({ 'tooling/docs/package.json': { name: 'docs' } });
  expect(withoutVersion(root)).toEqual(['tooling/docs/package.json has no version; give it "0.0.0"']);
});

test('actions name a commit and its version', () => {
  const pinned = 'actions/checkout@08c6903cd8c0fde910a37f88322edcfb5dd907a8 # v5.0.0';
  const root = workspace({
    '.github/workflows/a.yml': `steps:\n  - uses: ${pinned}\n  - uses: ./local\n  - uses: actions/checkout@v5\n`,
  });
  expect(looseActions(root)).toHaveLength(1);
  expect(looseActions(root)[0]).toContain("a.yml: 'actions/checkout@v5' must name a commit");
});

test('the release workflow names the repository of the root', () => {
  const file = '.github/workflows/release.yml';
  const text = "jobs:\n  release:\n    if: github.repository == 'old/name'\n";
  const stale = staleFiles(workspace({ [file]: text })).find((one) => one.file === file);
  expect(stale).toMatchObject({ problem: `${file} names another repository` });
  expect(stale?.wanted).toBe(text.replace('old/name', 'o/r'));
  const named = staleFiles(workspace({ [file]: text.replace('old/name', 'o/r') }));
  expect(named.find((one) => one.file === file)).toBeUndefined();
});
