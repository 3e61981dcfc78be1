import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { run, toolCommand } from '../../scripts/run.mjs';

const folder = mkdtempSync(join(tmpdir(), 'topk run '));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const words = [
  'Where is Mary?',
  'she said "here"',
  "it's",
  '',
  '$HOME %PATH% *',
  'a & b | c > d',
  'C:\\a b\\',
];

/** What a script prints when run with these arguments. @param {string[]} args */
function printed(args) {
  const file = join(folder, 'printed.json');
  const output = openSync(file, 'w');
  const status = run(
    process.execPath,
    ['-e', 'console.log(JSON.stringify(process.argv.slice(1)))', ...args],
    {
      stdio: ['ignore', output, 'inherit'],
    },
  );
  closeSync(output);
  expect(status).toBe(0);
  return JSON.parse(readFileSync(file, 'utf8'));
}

// What is done for Windows is tested on every system.
test.each([process.platform, 'win32'])('arguments arrive as they were given: %s', (platform) => {
  const real = /** @type {PropertyDescriptor} */ (Object.getOwnPropertyDescriptor(process, 'platform'));
  Object.defineProperty(process, 'platform', { ...real, value: platform });
  try {
    expect(printed(words)).toEqual(words);
  } finally {
    Object.defineProperty(process, 'platform', real);
  }
});

test('tools are run as JavaScript under this Node', () => {
  for (const tool of ['biome', 'knip', 'tsc', 'vitest']) {
    const [command, [script = '', ...rest]] = toolCommand(tool, ['--version']);
    expect(command).toBe(process.execPath);
    expect(readFileSync(script, 'utf8')).toMatch(/^#!\/usr\/bin\/env node|^import /);
    expect(rest).toEqual(['--version']);
  }
  expect(run('tsc', ['--version'], { stdio: 'ignore' })).toBe(0);
});
