import { describe, expect, test } from 'vitest';
import { type JsonError, jsonOf, runCli, temporaryFolder, writeIn } from './cli-support.js';

const folder = temporaryFolder();
const squadFile = writeIn(folder, 'squad.json', '{"data": []}');

describe('help and version', () => {
  test('the general help names every command but the internal one', async () => {
    const { code, stdout, stderr } = await runCli(['--help']);
    expect(code).toBe(0);
    expect(stderr).toBe('');
    for (const name of ['ask', 'eval', 'start']) expect(stdout).toMatch(new RegExp(`^ {2}${name} `, 'm'));
    expect(stdout).not.toContain('engine-host');
    expect(stdout).toContain('130 interrupted');
  });

  test.each([
    [
      'ask',
      ['--question', '--context', '--attention-k', '--compare', '--engine', '--budget-bytes', '--json'],
    ],
    ['eval', ['--dataset', '--format', '--k', '--resume', '--random-k', '--limit', '--json']],
    ['start', ['--backend', '--engine', '--report', '--json']],
  ])('%s --help lists its options and how to call it', async (name, options) => {
    const { code, stdout } = await runCli([name, '--help']);
    expect(code).toBe(0);
    expect(stdout).toContain(`Usage: pnpm qa ${name} `);
    for (const option of options) expect(stdout).toContain(option);
  });

  test('the version', async () => {
    const { code, stdout } = await runCli(['--version']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^topk-qa \d+\.\d+\.\d+, Node \d+/);
    expect(await runCli(['ask', '--version'])).toMatchObject({ code: 0, stdout });
  });
});

describe('wrong use: exit code 2, one message with what to do, nothing on standard output', () => {
  test.each<[string, string[], RegExp]>([
    ['no command', [], /no command given/],
    ['unknown command', ['answer'], /unknown command 'answer'; the commands are ask, eval, start/],
    ['unknown option', ['ask', '--question', 'x', '--kk', '3'], /unknown option '--kk'/],
    ['option without value', ['ask', '--question'], /'-q, --question <value>' argument missing/],
    ['stray word', ['ask', 'where', '--question', 'x'], /unexpected argument 'where'/],
    ['no question', ['ask'], /--question is missing/],
    ['empty question', ['ask', '--question', ' '], /--question is missing/],
    ['k of 0', ['ask', '-q', 'x', '--attention-k', '0'], /--attention-k: expected .*, got '0'/],
    ['k of 1.5', ['ask', '-q', 'x', '--feed-forward-k', '1.5'], /--feed-forward-k: expected .*, got '1.5'/],
    ['negative k', ['ask', '-q', 'x', '--attention-k=-4'], /--attention-k: expected .*, got '-4'/],
    ['negative k, apart', ['ask', '-q', 'x', '--attention-k', '-3'], /--attention-k: expected .*, got '-3'/],
    ['two questions', ['ask', '-q', 'x', '--question', 'y'], /option '--question' is given twice/],
    [
      'unknown backend',
      ['ask', '-q', 'x', '--backend', 'cuda'],
      /expected auto, webgpu, onnxruntime, tfjs, reference, got 'cuda'/,
    ],
    [
      'unknown engine',
      ['ask', '-q', 'x', '--backend', 'tfjs', '--engine', 'cuda'],
      /--engine: expected wasm, cpu, node, webgpu, got 'cuda'/,
    ],
    [
      'engine of another backend',
      ['ask', '-q', 'x', '--backend', 'onnxruntime', '--engine', 'wasm'],
      /--engine goes with --backend tfjs, got --backend onnxruntime/,
    ],
    [
      'engine without a backend',
      ['start', '--engine', 'wasm'],
      /--engine goes with --backend tfjs, got --backend auto/,
    ],
    ['bad bytes', ['ask', '-q', 'x', '--budget-bytes', '3 apples'], /--budget-bytes: expected bytes/],
    ['bad threads', ['ask', '-q', 'x', '--threads', '0'], /--threads: expected a whole number of at least 1/],
    ['eval without dataset', ['eval', '--format', 'squad'], /--dataset is missing/],
    ['eval without format', ['eval', '--dataset', squadFile], /--format is missing/],
    [
      'unknown format',
      ['eval', '--dataset', squadFile, '--format', 'csv'],
      /expected squad, unifiedqa, babi, got 'csv'/,
    ],
    [
      'bad k in a list',
      ['eval', '--dataset', squadFile, '--format', 'squad', '--k', '8,,16'],
      /--k: expected/,
    ],
    [
      'resume without out',
      ['eval', '--dataset', squadFile, '--format', 'squad', '--resume'],
      /--resume needs --out/,
    ],
    ['internal command', ['engine-host'], /engine-host is internal/],
  ])('%s', async (_name, args, message) => {
    const { code, stdout, stderr } = await runCli(args);
    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(/^Error USAGE: .+\nFix: See pnpm qa .*--help\n$/);
  });

  test.each([
    ['ask', ['-q', 'x', '--attention-k', '0']],
    ['start', ['--engine', 'wasm']],
    ['eval', ['--dataset', squadFile, '--format', 'csv']],
  ])('the fix of %s names the help that lists the option', async (name, args) => {
    expect((await runCli([name, ...args])).stderr).toMatch(`\nFix: See pnpm qa ${name} --help\n`);
  });

  test('with --json the error is the JSON', async () => {
    const outcome = await runCli(['ask', '--json']);
    expect(outcome.code).toBe(2);
    expect(outcome.stderr).toBe('');
    expect(jsonOf<JsonError>(outcome).error).toEqual({
      code: 'USAGE',
      message: 'ask: --question is missing',
      fix: 'See pnpm qa ask --help',
    });
  });
});
