import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { workspacePackages } from '../../checks/dependency-rule.mjs';
import { toolCommand } from '../../scripts/run.mjs';
import { declarations } from '../src/declarations.ts';
import {
  type DocExample,
  docExamplesOf,
  type Exported,
  exportedNames,
  moduleOf,
} from '../src/doc-examples.ts';

const root = fileURLToPath(new URL('../../../', import.meta.url));

/** Packages whose engines are found from their own folder only. */
const besideTheirTests: readonly string[] = ['tfjs', 'webgpu'];

/** Neither compiled nor run, by package and file. */
const leftOut: Readonly<Record<string, string>> = {
  'tfjs/doctor.ts': 'imports tfjs-node, which is not installed from npm here',
};

/** Only compiled, by package and file: packages' READMEs run the same calls. */
const notRun: Readonly<Record<string, string>> = {
  'conformance/describe.ts': 'would register tests inside a test',
  'models/load-model.ts': 'downloads a model',
  'tfjs/convert-artifacts.ts': 'loads a model from a server',
  'webgpu/create.ts': 'needs a GPU',
  'webgpu/doctor.ts': 'needs a GPU',
};

interface Found extends DocExample {
  readonly file: string;
  readonly module: string;
}

/** Files may move between folders. */
const keyOf = (short: string, file: string): string => `${short}/${basename(file)}`;

const packages = workspacePackages(root).filter(({ manifest }) => !manifest.private);
const folders: string[] = [];

async function examplesIn({ name, short, folder, manifest }: (typeof packages)[number]): Promise<Found[]> {
  const entries = Object.keys(manifest.exports).filter((key) => !key.endsWith('.json'));
  const exported = new Map<string, Exported>();
  for (const entry of entries) {
    const source = join(folder, manifest.exports[entry]['@topk-attention/source']);
    const values = new Set(Object.keys(await import(/* @vite-ignore */ source)));
    for (const each of exportedNames(source)) {
      if (!exported.has(each))
        exported.set(each, { entry: name + entry.slice(1), isType: !values.has(each) });
    }
  }
  const place = besideTheirTests.includes(short)
    ? join(folder, 'test', '.cache', 'doc-examples')
    : fileURLToPath(new URL(`.cache/doc-examples/${short}`, import.meta.url));
  folders.push(place);
  mkdirSync(place, { recursive: true });
  return readdirSync(join(folder, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .sort()
    .filter((file) => !Object.hasOwn(leftOut, keyOf(short, file)))
    .flatMap((file) =>
      docExamplesOf(readFileSync(join(folder, 'src', file), 'utf8')).map((example) => {
        const module = join(place, `${file.replaceAll(/[\\/.]/g, '-')}-${example.line}.ts`);
        writeFileSync(module, moduleOf(example.code, declarations[short] ?? {}, exported));
        return { ...example, file, module };
      }),
    );
}

const found = new Map<string, Found[]>();
for (const each of packages) found.set(each.short, await examplesIn(each));

const home = process.cwd();
const work = mkdtempSync(join(tmpdir(), 'topk-doc-examples-'));
beforeAll(() => {
  const model = join(root, 'apps', 'qa-demo', 'model');
  symlinkSync(model, join(work, 'model'), 'junction');
  const encoders = join(root, 'tooling', 't5-goldens', 'goldens', 'encoders');
  symlinkSync(join(encoders, 'bert'), join(work, 'encoder'), 'junction');
  const stories = join(root, 'tooling', 't5-goldens', 'goldens', 'stories260K');
  symlinkSync(stories, join(work, 'stories'), 'junction');
  copyFileSync(join(model, 'model.safetensors'), join(work, 'model.safetensors'));
  const older = join(root, 'packages', 'models', 'test', 'goldens', 'older', 'pytorch_model.bin');
  copyFileSync(older, join(work, 'pytorch_model.bin'));
  process.chdir(work);
});
afterAll(() => {
  process.chdir(home);
  for (const folder of [work, ...folders]) rmSync(folder, { recursive: true, force: true });
});

test('examples of doc comments compile', () => {
  const files = [...found.values()].flat().map(({ module }) => module);
  const config = fileURLToPath(new URL('.cache/doc-examples/tsconfig.json', import.meta.url));
  const compilerOptions = {
    noEmit: true,
    customConditions: ['@topk-attention/source'],
    types: ['node', '@webgpu/types'],
    typeRoots: [join(root, 'node_modules/@types'), join(root, 'packages/backend-webgpu/node_modules')],
    erasableSyntaxOnly: false,
  };
  writeFileSync(
    config,
    JSON.stringify({ extends: join(root, 'tsconfig.base.json'), compilerOptions, files }),
  );
  const [node, tsc] = toolCommand('tsc', ['-p', config, '--pretty', 'false']);
  const { stdout } = spawnSync(node, tsc, { cwd: root, encoding: 'utf8' });
  expect(stdout.split('\n').filter((line) => line.includes('doc-examples'))).toEqual([]);
});

for (const [short, all] of found) {
  const examples = all.filter(({ file }) => !Object.hasOwn(notRun, keyOf(short, file)));
  if (examples.length === 0) continue;
  describe(short, () => {
    test.each(examples)('$file:$line runs', async ({ module }) => {
      const log = vi.spyOn(console, 'log').mockImplementation(() => {});
      try {
        await import(/* @vite-ignore */ module);
      } finally {
        log.mockRestore();
      }
    });
  });
}

test('examples were found', () => {
  expect(found.get('core')?.length).toBeGreaterThan(3);
});

test('an example gets what it leaves out, and nothing that it has', () => {
  const known = new Map([
    ['run', { entry: 'pkg', isType: false }],
    ['Thing', { entry: 'pkg/sub', isType: true }],
  ]);
  const module = (code: string): string =>
    moduleOf(code, { x: 'const x = run(1);', y: 'const y = x;' }, known);
  expect(module('run(y); // x')).toBe(
    "import { run } from 'pkg';\nconst x = run(1);\nconst y = x;\nrun(y); // x\nexport {};\n",
  );
  expect(module('const y: Thing = 2;')).toBe(
    "import type { Thing } from 'pkg/sub';\nconst y: Thing = 2;\nexport {};\n",
  );
});

test('names that are left out or not run are those of examples', () => {
  const files = packages.flatMap(({ short, folder }) =>
    readdirSync(join(folder, 'src'), { recursive: true, encoding: 'utf8' }).map((file) => keyOf(short, file)),
  );
  expect([...Object.keys(leftOut), ...Object.keys(notRun)].filter((key) => !files.includes(key))).toEqual([]);
});
