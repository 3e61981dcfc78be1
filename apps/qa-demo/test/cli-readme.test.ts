import { spawn } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { cliPath, outcomeOf, temporaryFolder, writeIn } from './cli-support.js';

interface ShellExample {
  readonly line: number;
  readonly code: string;
  /** What standard output must hold: its `# prints: ...` comments. */
  readonly prints: readonly string[];
}

/** The blocks marked `sh`; those marked `sh no-run` are for readers only. */
function shellExamples(markdown: string): ShellExample[] {
  return [...markdown.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map((match) => {
    const code = match[1] ?? '';
    return {
      line: markdown.slice(0, match.index).split('\n').length + 1,
      code,
      prints: [...code.matchAll(/# prints: (.*)$/gm)].map((found) => (found[1] ?? '').trim()),
    };
  });
}

const examples = shellExamples(readFileSync(new URL('../README.md', import.meta.url), 'utf8'));
const rootFolder = fileURLToPath(new URL('../../..', import.meta.url));
/** The root README's own commands of this app that ask; the others install, build or take minutes. */
const rootExamples = shellExamples(readFileSync(join(rootFolder, 'README.md'), 'utf8')).filter(({ code }) =>
  code.includes(' qa ask '),
);

// `pnpm qa` builds and then does this; here everything is built.
const folder = temporaryFolder();
mkdirSync(join(folder, 'bin'));
chmodSync(
  writeIn(
    join(folder, 'bin'),
    'pnpm',
    `#!/bin/sh\n[ "$1" = qa ] || exit 99\nshift\nexec node '${cliPath}' "$@"\n`,
  ),
  0o755,
);
chmodSync(
  writeIn(
    join(folder, 'bin'),
    'npx',
    `#!/bin/sh\n[ "$1 $2" = '-y pnpm@12' ] || exit 98\nshift 2\nexec pnpm "$@"\n`,
  ),
  0o755,
);
const environment = {
  ...process.env,
  PATH: [join(folder, 'bin'), dirname(process.execPath), process.env.PATH].join(delimiter),
};

test('the README has examples', () => expect(examples.length).toBeGreaterThanOrEqual(5));

// In order, in one folder: later examples use files of earlier ones, as a reader would.
test.each(examples)('README.md:$line', async ({ code, prints }) => {
  const child = spawn('sh', ['-e', '-c', code], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: environment,
  });
  const outcome = await outcomeOf(child);
  expect(outcome, outcome.stderr).toMatchObject({ code: 0 });
  let rest = outcome.stdout;
  for (const text of prints) {
    expect(rest).toContain(text);
    rest = rest.slice(rest.indexOf(text) + text.length);
  }
});

test('what the root README asks is answered as printed, right and without a warning', async () => {
  expect(rootExamples).toHaveLength(1);
  for (const { code } of rootExamples) {
    const child = spawn('sh', ['-e', '-c', code], {
      cwd: rootFolder,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: environment,
    });
    const outcome = await outcomeOf(child);
    expect(outcome).toMatchObject({ code: 0, stderr: '' });
    expect(outcome.stdout).toMatch(/^exact: kitchen\ntop-k: kitchen\n/);
    expect(outcome.stdout).toContain('The answers agree.');
  }
});
