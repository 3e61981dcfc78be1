import { Command } from '@commander-js/extra-typings';
import { TopKError } from '@topk-attention/core';
import { describe, expect, test } from 'vitest';
import { backendCommand, backendSettings } from '../../../src/node/cli/backend-command.js';
import { print } from '../../../src/node/cli/io.js';
import { runCommandLine } from '../../../src/node/cli/run-command-line.js';
import { capture } from '../../support/command-line.js';

async function run(
  args: readonly string[],
  signal?: AbortSignal,
): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }> {
  const { io, written } = capture(signal);
  const show = backendCommand('show')
    .summary('shows its options')
    .requiredOption('-n, --name <TEXT>', 'a name')
    .option('--file <FILE...>', 'files')
    .option('--keep-k <N>', 'a number')
    .action(({ name, file, ...options }) =>
      print(io, JSON.stringify({ name, file, backend: backendSettings(options) })),
    );
  const fail = new Command('fail').option('--json').action(() => {
    throw new TopKError('DOES_NOT_FIT', 'too large', { fix: 'Use less' });
  });
  const stop = new Command('stop').action(() => {
    throw new Error('whatever comes of an abort');
  });
  const program = new Command('tool').version('tool 1.2.3', '--version', 'print versions');
  for (const command of [show, fail, stop]) program.addCommand(command);
  const code = await runCommandLine(program, args, io);
  return { code, ...written };
}

test('options reach the action, typed and with defaults', async () => {
  const args = ['show', '-n', 'x', '--file', 'a', 'b', '--file', 'c', '--backend', 'tfjs', '--engine', 'cpu'];
  const { code, stdout, stderr } = await run([...args, '--threads', '2']);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(JSON.parse(stdout)).toEqual({
    name: 'x',
    file: ['a', 'b', 'c'],
    backend: { backend: 'tfjs', engine: 'cpu', threads: 2 },
  });
  expect(JSON.parse((await run(['show', '-n', 'x'])).stdout)).toEqual({
    name: 'x',
    backend: { backend: 'auto' },
  });
});

test('a value may begin with a dash where no option looks like that', async () => {
  const { stdout } = await run(['show', '--name', '-3 or less?', '--file', '-', 'a']);
  expect(JSON.parse(stdout)).toMatchObject({ name: '-3 or less?', file: ['-', 'a'] });
});

test.each([
  [['--help'], /^Usage: tool [\s\S]*\n {2}show /],
  [['show', '--help'], /^Usage: tool show [\s\S]*--name <TEXT>[\s\S]*--backend <NAME>/],
  [['--version'], /^tool 1\.2\.3\n$/],
  [['show', '--version'], /^tool 1\.2\.3\n$/],
])('%j is written to standard output', async (args, text) => {
  expect(await run(args)).toEqual({ code: 0, stdout: expect.stringMatching(text), stderr: '' });
});

describe('wrong use: exit code 2, one message, and the help that lists what is right', () => {
  test.each([
    [[], 'no command given', 'tool'],
    [['sho'], "unknown command 'sho' (Did you mean show?)", 'tool'],
    [['show', '-n', 'x', '--nam', 'y'], "unknown option '--nam' (Did you mean --name?)", 'tool show'],
    [['show', '--nmae', 'x'], "unknown option '--nmae' (Did you mean --name?)", 'tool show'],
    [['show', '--json', '--nmae=x'], "unknown option '--nmae=x' (Did you mean --name?)", 'tool show'],
    [['show', '-n', 'x', '--k', '3'], "unknown option '--k' (Did you mean --keep-k?)", 'tool show'],
    [['show', '-n', 'x', '--k=3'], "unknown option '--k=3' (Did you mean --keep-k?)", 'tool show'],
    [['show', '-n', 'x', '--p'], "unknown option '--p'", 'tool show'],
    [['show'], "required option '-n, --name <TEXT>' not specified", 'tool show'],
    [['show', 'x'], "required option '-n, --name <TEXT>' not specified", 'tool show'],
    [['show', '-n', 'x', 'y'], "too many arguments for 'show'. Expected 0 arguments but got 1.", 'tool show'],
    [['show', '-n'], "option '-n, --name <TEXT>' argument missing", 'tool show'],
    [
      ['show', '--name', '--json'],
      "option '-n, --name <TEXT>' argument missing before '--json'",
      'tool show',
    ],
    [
      ['show', '-n', 'x', '--file', '-n'],
      "option '--file <FILE...>' argument missing before '-n'",
      'tool show',
    ],
    [['show', '-n', 'x', '--name', 'y'], "option '--name' is given twice", 'tool show'],
    [['show', '-n', 'x', '--json', '--json'], "option '--json' is given twice", 'tool show'],
    [
      ['show', '-n', 'x', '--threads', '-3'],
      "option '--threads <N>' argument '-3' is invalid. Expected a whole number of at least 1.",
      'tool show',
    ],
    [
      ['show', '-n', 'x', '--engine', 'cpu'],
      '--engine needs --backend tfjs, got --backend auto',
      'tool show',
    ],
  ])('%j', async (args, message, name) => {
    const plain = await run(args);
    expect(plain.code).toBe(2);
    if (args.includes('--json')) {
      const error = { code: 'USAGE', message, fix: `See ${name} --help` };
      expect(JSON.parse(plain.stdout)).toEqual({ error });
      return;
    }
    expect(plain).toMatchObject({ stdout: '', stderr: `Error USAGE: ${message}\nFix: See ${name} --help\n` });
  });
});

test('an error of an action: exit code 1, on standard error, or as JSON', async () => {
  expect(await run(['fail'])).toEqual({
    code: 1,
    stdout: '',
    stderr: 'Error DOES_NOT_FIT: too large.\nFix: Use less\n',
  });
  const { code, stdout, stderr } = await run(['fail', '--json']);
  expect({ code, stderr }).toEqual({ code: 1, stderr: '' });
  expect(JSON.parse(stdout)).toEqual({
    error: { code: 'DOES_NOT_FIT', message: 'too large.', fix: 'Use less' },
  });
});

test('whatever fails after an abort is an interruption: exit code 130', async () => {
  expect(await run(['stop'], AbortSignal.abort())).toEqual({
    code: 130,
    stdout: '',
    stderr: 'Interrupted.\n',
  });
});
