import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { packageTests } from '../src/preset.ts';
import { askedFor, leftFiles, longFiles, secondsOf, slowFiles } from '../src/slow-files.ts';
import { runFixture } from './run-fixture.ts';

const root = fileURLToPath(new URL('../../../', import.meta.url));

/** Test files of each project, as slow-files.ts names them. */
function testFiles(): Map<string, string[]> {
  const files = new Map<string, string[]>();
  for (const folder of ['packages', 'apps', 'examples', 'tooling'].flatMap((group) =>
    readdirSync(root + group).map((name) => `${group}/${name}`),
  )) {
    if (!existsSync(`${root}${folder}/vitest.config.ts`)) continue;
    const config = readFileSync(`${root}${folder}/vitest.config.ts`, 'utf8');
    const project = /packageTests\('([^']+)'/.exec(config)?.[1] ?? '';
    const paths = readdirSync(`${root}${folder}/test`, { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.test.ts'))
      .map((path) => path.replaceAll('\\', '/').replace(/\.test\.ts$/, ''));
    files.set(project, paths);
  }
  return files;
}

beforeEach(() => vi.stubEnv('TOPK_REQUIRE_THOROUGH', undefined));
afterEach(() => vi.unstubAllEnvs());

test('every listed name is that of a test file, and every project keeps a file in the fast lane', () => {
  const files = testFiles();
  for (const [project, listed] of Object.entries(slowFiles)) {
    const here = files.get(project) ?? [];
    expect(
      Object.keys(listed).filter((name) => !here.includes(name)),
      project,
    ).toEqual([]);
    expect(here.length, project).toBeGreaterThan(Object.keys(listed).length);
  }
  for (const [project, listed] of Object.entries(longFiles)) {
    const here = files.get(project) ?? [];
    for (const name of Object.keys(listed)) {
      expect(here, project).toContain(name);
      expect(slowFiles[project], project).not.toHaveProperty([name]);
    }
  }
});

test('a run starts with the slowest of the files listed as slow or long', () => {
  const seconds = (project: string, name: string): number => secondsOf(project, `/some/test/${name}.test.ts`);
  const slow = slowFiles.webgpu?.['conformance/layers'] ?? 0;
  expect(seconds('webgpu', 'conformance/layers')).toBe(slow);
  expect(seconds('docs', 'packed-readmes')).toBeGreaterThan(0);
  expect(seconds('docs', 'packed-readmes')).toBeLessThan(slow);
  expect(seconds('docs', 'no-such-file')).toBe(0);
});

test('a file that the command line names is run, and so is every file of the whole run', () => {
  const name = 'attention/tensor/finish';
  expect(leftFiles('webgpu', ['run', 'tensor'])).toContain(name);
  expect(leftFiles('webgpu', ['run', '--project', 'finish'])).toContain(name);
  expect(leftFiles('webgpu', ['run', '--reporter=dot', 'tensor/finish'])).not.toContain(name);
  expect(leftFiles('webgpu', ['run', '--silent', 'tensor/finish'])).not.toContain(name);
  expect(leftFiles('webgpu', ['run', '--outputFile.json', 'finish'])).toContain(name);
  expect(leftFiles('webgpu', ['run', `packages/any/test/${name}.test.ts`])).not.toContain(name);
  expect(leftFiles('webgpu', ['run', 'nish'])).toContain(name);
  vi.stubEnv('TOPK_REQUIRE_THOROUGH', '1');
  expect(leftFiles('webgpu', ['run'])).toEqual([]);
});

test('what a run says it leaves is what its words ask for', () => {
  const left = leftFiles('webgpu', ['run']);
  expect(askedFor(left, ['run'])).toEqual(left);
  expect(askedFor(left, ['run', 'attention/tensor'])).toEqual(
    left.filter((name) => name.startsWith('attention/tensor/')),
  );
  expect(askedFor(left, ['run', 'autograd'])).toEqual([]);
});

test('a slow file is left out and counted', () => {
  const file = 'test/attention/tensor/finish.test.ts';
  expect(packageTests('webgpu').test?.exclude).toContain(file);
  const { status, output } = runFixture({ TOPK_REQUIRE_THOROUGH: '', TOPK_FIXTURE: 'webgpu' });
  expect(status, output).toBe(0);
  const count = Object.keys(slowFiles.webgpu ?? {}).length;
  expect(output).toContain(
    `left to \`pnpm test --all\`: ${count} slow test files, and 1 test of other files`,
  );
  vi.stubEnv('TOPK_REQUIRE_THOROUGH', '1');
  expect(packageTests('webgpu').test?.exclude).not.toContain(file);
});
