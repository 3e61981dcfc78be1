import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeEach, expect, test, vi } from 'vitest';
import { leftFiles, listedName, slowFiles } from '../src/slow-files.ts';
import { runFixture } from './run-fixture.ts';

const root = fileURLToPath(new URL('../../../', import.meta.url));

function testFiles(): string[] {
  return ['packages', 'apps', 'tooling'].flatMap((group) =>
    readdirSync(`${root}${group}`).flatMap((name) => {
      const folder = `${group}/${name}/test`;
      try {
        return readdirSync(root + folder, { recursive: true, encoding: 'utf8' })
          .filter((path) => path.endsWith('.test.ts'))
          .map((path) => `${folder}/${path}`);
      } catch {
        return [];
      }
    }),
  );
}

beforeEach(() => vi.stubEnv('TOPK_REQUIRE_THOROUGH', undefined));
afterEach(() => vi.unstubAllEnvs());

test('every listed name is that of one test file', () => {
  const names = testFiles().map(listedName);
  const counts = Object.keys(slowFiles).map((name) => [name, names.filter((each) => each === name).length]);
  expect(counts.filter(([, count]) => count !== 1)).toEqual([]);
});

test('a file that the command line names is run, and so is every file of the whole run', () => {
  const [name = '', other = ''] = Object.keys(slowFiles).filter((each) => !each.includes('/'));
  expect(leftFiles(['run', '--project', name])).toContain(name);
  expect(leftFiles(['run', '--reporter=dot', name])).not.toContain(name);
  expect(leftFiles(['run', `packages/any/test/${name}.test.ts`])).not.toContain(name);
  expect(leftFiles(['run', other])).toContain(name);
  vi.stubEnv('TOPK_REQUIRE_THOROUGH', '1');
  expect(leftFiles(['run'])).toEqual([]);
});

test('a file that is listed with its folders is named by what follows test/', () => {
  expect(leftFiles(['run', 'parity'])).not.toContain('qa-demo/test/parity');
  expect(leftFiles(['run', 'conformance/wasm.test'])).not.toContain('conformance/wasm');
  expect(leftFiles(['run', 'wasm'])).toContain('conformance/wasm');
});

const cache = fileURLToPath(new URL('fixtures/.cache/', import.meta.url));
afterAll(() => rmSync(cache, { recursive: true, force: true }));

test('a slow file is read but not run, and its tests are counted', () => {
  const name = Object.keys(slowFiles).find((each) => !each.includes('/'));
  mkdirSync(cache, { recursive: true });
  const body = `import { beforeAll, test } from 'vitest';
    beforeAll(() => { throw new Error('a hook ran'); });
    test('one', () => { throw new Error('a test ran'); });
    test('two', () => {});`;
  writeFileSync(`${cache}${name}.test.ts`, body);
  const quick = runFixture({ TOPK_REQUIRE_THOROUGH: '' }, ['.cache/']);
  expect(quick.status, quick.output).toBe(0);
  expect(quick.output).toContain('left to `pnpm test --all`: 2 tests (files: 1)');
  const whole = runFixture({ TOPK_REQUIRE_THOROUGH: '1' }, ['.cache/']);
  expect(whole.status).toBe(1);
  expect(whole.output).toContain('a hook ran');
});
