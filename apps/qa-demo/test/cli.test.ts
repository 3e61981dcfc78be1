import { describe, expect, test } from 'vitest';
import { type JsonError, jsonOf, runCli, temporaryFolder, writeIn } from './cli-support.js';
import { runProgram } from './run-program.js';

const folder = temporaryFolder();
const squadFile = writeIn(folder, 'squad.json', '{"data": []}');

describe('help and version', () => {
  test('the general help names every command', async () => {
    const { code, stdout, stderr } = await runCli(['--help']);
    expect(code).toBe(0);
    expect(stderr).toBe('');
    for (const name of ['ask', 'eval', 'export', 'start', 'suggest-k'])
      expect(stdout).toMatch(new RegExp(`^ {2}${name} `, 'm'));
    expect(stdout).toContain('130 interrupted');
  });

  test.each([
    [
      'ask',
      [
        '--question',
        '--context',
        '--model <embedded|DIR|NAME>',
        '--offline',
        '--attention-k',
        '--compare',
        '--engine',
        '--budget-bytes',
        '--json',
      ],
    ],
    ['eval', ['--dataset', '--format', '--k', '--resume', '--random-k', '--limit', '--json']],
    ['export', ['--model', '--attention-k', '--feed-forward-k', '--chunked', '--json']],
    ['start', ['--backend', '--engine', '--report', '--json']],
    ['suggest-k', ['--question', '--context', '--tolerance', '--measure', '--of', '--k', '--json']],
  ])('%s --help lists its options and how to call it', async (name, options) => {
    const { code, stdout } = await runProgram([name, '--help']);
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
    ['unknown command', ['answer'], /unknown command 'answer'/],
    ['nearly a command', ['evl'], /unknown command 'evl' \(Did you mean eval\?\)/],
    ['unknown option', ['ask', '--question', 'x', '--kk', '3'], /unknown option '--kk'/],
    [
      'nearly an option',
      ['ask', '-q', 'x', '--attention', '3'],
      /unknown option '--attention' \(Did you mean --attention-k\?\)/,
    ],
    ['option without value', ['ask', '--question'], /'-q, --question <TEXT>' argument missing/],
    ['stray word', ['ask', 'where', '--question', 'x'], /too many arguments for 'ask'/],
    [
      'misspelt question',
      ['ask', '--quesion', 'x'],
      /unknown option '--quesion' \(Did you mean --question\?\)/,
    ],
    ['no question', ['ask'], /required option '-q, --question <TEXT>' not specified/],
    [
      'empty question',
      ['ask', '--question', ' '],
      /--question <TEXT>' argument ' ' is invalid\. Expected some text/,
    ],
    [
      'k of 0',
      ['ask', '-q', 'x', '--attention-k', '0'],
      /--attention-k <N\|exact>' argument '0' is invalid\. Expected a whole number/,
    ],
    [
      'k of 1.5',
      ['ask', '-q', 'x', '--feed-forward-k', '1.5'],
      /--feed-forward-k <N\|exact>' argument '1\.5' is invalid/,
    ],
    [
      'negative k',
      ['ask', '-q', 'x', '--attention-k=-4'],
      /--attention-k <N\|exact>' argument '-4' is invalid/,
    ],
    [
      'negative k, apart',
      ['ask', '-q', 'x', '--attention-k', '-3'],
      /--attention-k <N\|exact>' argument '-3' is invalid/,
    ],
    ['two questions', ['ask', '-q', 'x', '--question', 'y'], /option '--question' is given twice/],
    [
      'unknown backend',
      ['ask', '-q', 'x', '--backend', 'cuda'],
      /'--backend <NAME>' argument 'cuda' is invalid\. Allowed choices are auto, webgpu, onnxruntime, tfjs, reference/,
    ],
    [
      'unknown engine',
      ['ask', '-q', 'x', '--backend', 'tfjs', '--engine', 'cuda'],
      /'--engine <NAME>' argument 'cuda' is invalid\. Allowed choices are wasm, cpu, node, webgpu/,
    ],
    [
      'engine of another backend',
      ['ask', '-q', 'x', '--backend', 'onnxruntime', '--engine', 'wasm'],
      /--engine needs --backend tfjs, got --backend onnxruntime/,
    ],
    [
      'engine without a backend',
      ['start', '--engine', 'wasm'],
      /--engine needs --backend tfjs, got --backend auto/,
    ],
    [
      'bad bytes',
      ['ask', '-q', 'x', '--budget-bytes', '3 apples'],
      /--budget-bytes <BYTES>' argument '3 apples' is invalid\. Expected bytes/,
    ],
    [
      'bad threads',
      ['ask', '-q', 'x', '--threads', '0'],
      /--threads <N>' argument '0' is invalid\. Expected a whole number of at least 1/,
    ],
    [
      'eval without dataset',
      ['eval', '--format', 'squad'],
      /required option '--dataset <FILE>' not specified/,
    ],
    [
      'eval without format',
      ['eval', '--dataset', squadFile],
      /required option '--format <NAME>' not specified/,
    ],
    [
      'unknown format',
      ['eval', '--dataset', squadFile, '--format', 'csv'],
      /argument 'csv' is invalid\. Allowed choices are squad, unifiedqa, babi/,
    ],
    [
      'bad k in a list',
      ['eval', '--dataset', squadFile, '--format', 'squad', '--k', '8,,16'],
      /'--k <N,N,\.\.\.>' argument '8,,16' is invalid\. Expected a whole number/,
    ],
    [
      'resume without out',
      ['eval', '--dataset', squadFile, '--format', 'squad', '--resume'],
      /--resume needs --out/,
    ],
  ])('%s', async (_name, args, message) => {
    const { code, stdout, stderr } = await runProgram(args);
    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(/^Error USAGE: .+\nFix: See pnpm qa .*--help\n$/);
  });

  test('of a process too', async () => {
    const args = ['ask', '--question', 'x', '--kk', '3'];
    expect(await runCli(args)).toEqual(await runProgram(args));
  });

  test.each([
    ['ask', ['-q', 'x', '--attention-k', '0']],
    ['start', ['--engine', 'wasm']],
    ['eval', ['--dataset', squadFile, '--format', 'csv']],
  ])('the fix of %s names the help that lists the option', async (name, args) => {
    expect((await runProgram([name, ...args])).stderr).toMatch(`\nFix: See pnpm qa ${name} --help\n`);
  });

  test('with --json the error is the JSON', async () => {
    const outcome = await runCli(['ask', '--json']);
    expect(outcome.code).toBe(2);
    expect(outcome.stderr).toBe('');
    expect(jsonOf<JsonError>(outcome).error).toEqual({
      code: 'USAGE',
      message: "required option '-q, --question <TEXT>' not specified",
      fix: 'See pnpm qa ask --help',
    });
  });
});
