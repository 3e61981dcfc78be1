import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { findCompiler } from '../compile.mjs';
import { tfjsNodeVersion, unsupportedPlatform } from '../versions.mjs';

/** @param {string[]} args */
function build(...args) {
  const script = fileURLToPath(new URL('../build.mjs', import.meta.url));
  return spawnSync(process.execPath, [script, ...args], { encoding: 'utf8' });
}

test('--help says what it does and needs', () => {
  const { status, stdout } = build('--help');
  expect(status).toBe(0);
  for (const word of ['--wheel', '--force', '--check', 'C++ compiler', 'PIP_INDEX_URL'])
    expect(stdout).toContain(word);
});

test('an unknown option is refused with the help', () => {
  const { status, stderr } = build('--nonsense');
  expect(status).toBe(2);
  expect(stderr).toContain("Unknown option '--nonsense'");
  expect(stderr).toContain('--wheel FILE');
});

test('a machine without a compiler is told which package has one', () => {
  const before = process.env.CXX;
  process.env.CXX = 'no-such-compiler';
  try {
    expect(() => findCompiler()).toThrow(
      expect.objectContaining({ code: 'NO_COMPILER', fix: expect.stringContaining('apt-get install g++') }),
    );
  } finally {
    if (before === undefined) delete process.env.CXX;
    else process.env.CXX = before;
  }
});

test('other platforms are named', () => {
  expect(unsupportedPlatform('linux', 'x64')).toBeUndefined();
  expect(unsupportedPlatform('darwin', 'arm64')).toContain('darwin arm64');
});

test('the version built is the one that the workspace uses', () => {
  const workspace = readFileSync(new URL('../../../pnpm-workspace.yaml', import.meta.url), 'utf8');
  expect(workspace).toContain(`"@tensorflow/tfjs-core": ${tfjsNodeVersion}\n`);
});
