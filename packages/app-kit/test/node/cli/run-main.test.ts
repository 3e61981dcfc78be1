import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { beforeAll, expect, test } from 'vitest';
import { buildModule } from '../../support/build-module.js';
import { temporaryFolder } from '../../support/temporary-folder.js';

const folder = temporaryFolder();
let tool: string;
beforeAll(async () => {
  tool = await buildModule('small-tool', folder);
});

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the tool; `onOutput` sees all of its standard output so far. */
async function run(
  command: string,
  onOutput: (text: string, kill: () => void) => void = () => {},
): Promise<Outcome> {
  const child = spawn(process.execPath, [tool, command], { stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    onOutput(stdout, () => child.kill('SIGINT'));
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout, stderr };
}

test('the exit code is that of the command line', async () => {
  expect(await run('hello')).toEqual({ code: 0, stdout: 'hello\n', stderr: '' });
  expect(await run('helo')).toMatchObject({ code: 2, stdout: '' });
});

test('a first Ctrl-C aborts the signal: the command ends by itself', async () => {
  const outcome = await run('wait', (_text, kill) => kill());
  expect(outcome).toEqual({ code: 130, stdout: 'waiting\n', stderr: 'Interrupted.\n' });
});

test('a second one ends the process at once', async () => {
  const outcome = await run('stay', (_text, kill) => kill());
  expect(outcome).toMatchObject({ code: 130, stdout: 'waiting\nnot yet\n' });
});
