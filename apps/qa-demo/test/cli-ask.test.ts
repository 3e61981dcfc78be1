import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { tfjsNodeAvailability } from '@topk-attention/vitest-preset/tfjs-node';
import { describe, expect, test } from 'vitest';
import type { Answer, EngineInfo } from '../src/engine/protocol.js';
import {
  type JsonError,
  jsonOf,
  outcomeOf,
  runCli,
  signalListeners,
  smallModel,
  startCli,
  temporaryFolder,
  without,
  writeIn,
} from './cli-support.js';
import { runProgram } from './run-program.js';

type AskJson = Answer & {
  readonly question: string;
  readonly engine: EngineInfo;
  readonly warnings: string[];
};

const folder = temporaryFolder();
const model = smallModel(folder);
const shortAnswers = ['--max-new-tokens', '5'];
const onReference = ['ask', '--model', model, '--backend', 'reference', ...shortAnswers];
const question = ['--question', 'Where is Ann?'];
const first = writeIn(folder, 'first.txt', 'Ann went to the garden.\n');
const second = writeIn(folder, 'second.txt', '\ufeffBob is in the kitchen.\r\nHe sleeps.');

/** A command's options without those that others stand for: each may be given once. */
const instead = (command: readonly string[], others: readonly string[]): string[] =>
  command.filter((one, at) => !others.includes(one) && !(at > 1 && others.includes(command[at - 1] ?? '')));

const asked = new Map<string, Promise<AskJson>>();

/**
 * The answer of the command line on the reference backend: of a process if something is piped into it, otherwise of this
 * one, and then each command runs once.
 */
const ask = (args: readonly string[], stdin?: string): Promise<AskJson> => {
  if (stdin !== undefined) return runAsk(args, stdin);
  const key = args.join(' ');
  const answer = asked.get(key) ?? runAsk(args);
  asked.set(key, answer);
  return answer;
};

const runAsk = async (args: readonly string[], stdin?: string): Promise<AskJson> => {
  const command = [...instead(onReference, args), ...question, '--json', ...args];
  const outcome = await (stdin === undefined ? runProgram(command) : runCli(command, { stdin }));
  expect(outcome).toMatchObject({ code: 0, stderr: '' });
  return jsonOf<AskJson>(outcome);
};

describe('an answer', () => {
  test('is what goes to standard output, and is the same as in JSON', async () => {
    const plain = await runCli([...onReference, ...question, '--context', first]);
    expect(plain).toMatchObject({ code: 0, stderr: '' });
    const json = await ask(['--context', first]);
    expect(plain.stdout).toBe(`${json.text}\n`);
    expect(json.text).not.toBe('');
  });

  test('comes with everything that made it', async () => {
    const { engine, warnings, ...answer } = await ask(['--context', first, '--max-new-tokens', '3']);
    expect(answer).toMatchObject({
      question: 'Where is Ann?',
      attentionK: 64,
      feedForwardK: 8,
      newTokens: 3,
    });
    // One character a token here: question, separator, context, end of sequence.
    expect(answer.promptTokens).toBe('▁where▁is▁ann?▁\\n▁ann▁went▁to▁the▁garden.'.length + 1);
    expect(answer.peakBytes).toBeGreaterThan(20 * 2 ** 20);
    expect(answer.plans.map((plan) => plan.layer)).toEqual(['encoder.0 attention', 'encoder.0 feedForward']);
    expect(engine).toMatchObject({ backend: 'reference', model, feedForwardUnits: 96 });
    expect(warnings).toEqual([]);
  });

  test('runs on ONNX Runtime by default where there is no GPU, and says as much', async () => {
    const args = ['ask', '--model', model, ...question, '--context', first, '--json', ...shortAnswers];
    const env = without(folder, 'webgpu');
    const json = jsonOf<AskJson>(await runCli([...args, '--threads', '1'], { env }));
    expect(json.engine.backend).toBe('onnxruntime');
    expect(json.engine.description).toMatch(
      /^ONNX Runtime \(onnxruntime-node \d+\.\d+\.\d+\), cpu, 1 thread, /,
    );
    expect(json.text).toBe((await ask(['--context', first])).text);
  });

  test('k of every key and unit, and exact, are one and the same', async () => {
    const exact = await ask(['--context', first, '--attention-k', 'exact', '--feed-forward-k', 'exact']);
    expect(exact).toMatchObject({ attentionK: 'exact', feedForwardK: 'exact' });
    const all = await ask(['--context', first, '--attention-k', '1000', '--feed-forward-k', '1000']);
    expect(all.text).toBe(exact.text);
    const few = await ask(['--context', first, '--attention-k', '1', '--feed-forward-k', '1']);
    expect(few.text).not.toBe(exact.text);
  });
});

describe('how tokens are chosen', () => {
  const onContext = ['--context', first];

  test('beams: the answer in one piece, as plain text too', async () => {
    const json = await ask([...onContext, '--beams', '3']);
    expect(json).toMatchObject({ strategy: { numBeams: 3 } });
    const plain = await runProgram([...onReference, ...question, ...onContext, '--beams', '3']);
    expect(plain).toMatchObject({ code: 0, stdout: `${json.text}\n` });
  });

  test('draws: the same seed, the same answer; another seed, others', async () => {
    const drawn = (...args: readonly string[]): Promise<AskJson> =>
      runAsk([...onContext, '--sample', '--temperature', '2', ...args]);
    const any = await drawn();
    const { seed } = (any as AskJson & { strategy: { seed: number } }).strategy;
    expect((await drawn('--seed', String(seed))).text).toBe(any.text);
    const others = await Promise.all([1, 2, 3].map((own) => drawn('--seed', String(own))));
    expect(new Set(others.map(({ text }) => text)).size).toBeGreaterThan(1);
  });

  test.each([
    [['--temperature', '2'], /--temperature needs --sample/],
    [['--seed', '2'], /--seed needs --sample/],
    [['--sample', '--beams', '2'], /exclude each other/],
    [['--sample', '--temperature', '0'], /above 0/],
    [['--beams', '0'], /at least 1/],
  ])('%j is refused', async (args, message) => {
    const outcome = await runProgram([...onReference, ...question, ...onContext, ...args]);
    expect(outcome.code).toBe(2);
    expect(outcome.stderr).toMatch(message);
  });
});

describe('contexts', () => {
  test('several files are joined in order', async () => {
    const joined = writeIn(folder, 'joined.txt', 'Ann went to the garden. Bob is in the kitchen. He sleeps.');
    const both = await ask(['--context', first, '--context', second]);
    const one = await ask(['--context', joined]);
    expect(both.promptTokens).toBe(one.promptTokens);
    expect(both.text).toBe(one.text);
    // The last one wins: an answer long enough to tell the two orders apart.
    const long = ['--max-new-tokens', '20'];
    const forwards = await ask(['--context', first, '--context', second, ...long]);
    const backwards = await ask(['--context', second, '--context', first, ...long]);
    expect(backwards.text).not.toBe(forwards.text);
  });

  test('what is piped in is the context, and so is -', async () => {
    const fromFile = await ask(['--context', first]);
    const piped = await ask([], 'Ann went to the garden.');
    const dash = await ask(['--context', '-'], 'Ann went to the garden.');
    expect([piped.text, piped.promptTokens]).toEqual([fromFile.text, fromFile.promptTokens]);
    expect([dash.text, dash.promptTokens]).toEqual([fromFile.text, fromFile.promptTokens]);
  });

  test('- stands among files', async () => {
    const mixed = await ask(['--context', '-', '--context', second], 'Ann went to the garden.');
    expect(mixed.promptTokens).toBe((await ask(['--context', first, '--context', second])).promptTokens);
  });

  test('with files named, a pipe is left alone', async () => {
    const unread = await ask(['--context', first], 'Something else altogether.');
    expect(unread.promptTokens).toBe((await ask(['--context', first])).promptTokens);
  });

  test('a question without context is a question', async () => {
    expect((await ask([])).promptTokens).toBe('▁where▁is▁ann?'.length + 1);
  });

  test('a text longer than the training: said, and run', async () => {
    const short = smallModel(folder, { n_positions: 16 });
    const args = ['ask', '--model', short, '--backend', 'reference', ...question, '--context', first];
    const { code, stdout, stderr } = await runProgram(args);
    expect(code).toBe(0);
    expect(stdout.trim()).not.toBe('');
    expect(stderr).toBe(
      'Warning: 42 tokens, but this model was trained on at most 16; answers may be worse, and time grows with the square of the length.\n',
    );
    expect(jsonOf<AskJson>(await runProgram([...args, '--json'])).warnings).toEqual([stderr.trim()]);
  });
});

describe('an answer that cannot be trusted comes with a warning', () => {
  test.each([
    ['no context', [], ''],
    ['an empty file', ['--context', writeIn(folder, 'nothing.txt', '')], ''],
    ['line breaks', ['--context', writeIn(folder, 'breaks.txt', '\n\n\r\n')], ''],
    ['NUL bytes', ['--context', writeIn(folder, 'nul.txt', new Uint8Array(8))], ''],
    ['a pipe without a word', [], ' \n'],
  ])('%s', async (_name, args, stdin) => {
    const command = [...onReference, ...question, ...args];
    const outcome = await (stdin === '' ? runProgram(command) : runCli(command, { stdin }));
    expect(outcome.code).toBe(0);
    expect(outcome.stderr).toMatch(
      /^Warning: no text to answer from, so the answer is a guess\. .*--context/,
    );
  });

  test('a text that the tokenizer does not know', async () => {
    const russian = writeIn(folder, 'russian.txt', 'Мария пошла на кухню. Джон пошёл в сад. Даниил в доме.');
    const { warnings } = await ask(['--context', russian]);
    expect(warnings).toEqual([
      expect.stringMatching(/^Warning: the model's tokenizer does not know [678]\d % of this text/),
    ]);
  });

  test('the included model and a question of another world, not one of its own', async () => {
    const story = writeIn(folder, 'mary.txt', 'Mary went to the kitchen.');
    const embedded = ['ask', '--context', story, '--backend', 'onnxruntime', '--json', ...shortAnswers];
    const foreign = await runProgram([...embedded, '-q', 'How tall is the Eiffel Tower?']);
    expect(jsonOf<AskJson>(foreign).warnings).toEqual([
      expect.stringMatching(/^Warning: the included model understands .* "tall", "eiffel", "tower"/),
    ]);
    const own = jsonOf<AskJson>(await runProgram([...embedded, '-q', 'Where is Mary?']));
    expect(own).toMatchObject({ text: 'kitchen', warnings: [] });
  });
});

describe('failures: exit code 1, a code and what to do', () => {
  const empty = join(folder, 'empty');
  mkdirSync(empty);
  const binary = writeIn(folder, 'binary.txt', Uint8Array.from([0x41, 0xff, 0xfe, 0x00]));
  const config = smallModel(folder, { model_type: 'bert' });

  test.each<[string, string[], string, RegExp]>([
    [
      'a context that is not there',
      ['--context', 'nowhere.txt'],
      'FILE_NOT_FOUND',
      /context nowhere\.txt.*ENOENT/,
    ],
    ['a folder as context', ['--context', empty], 'FILE_NOT_FOUND', /got a folder/],
    [
      'a context that is not text',
      ['--context', binary],
      'FILE_CORRUPT',
      /binary\.txt is not text: expected UTF-8/,
    ],
    [
      'a model that is not there',
      ['--model', 'no-such-model'],
      'FILE_NOT_FOUND',
      /no model in .*no-such-model/,
    ],
    ['a folder that is no model', ['--model', empty], 'FILE_NOT_FOUND', /a folder without config\.json/],
    ['an unknown model type', ['--model', config], 'UNKNOWN_MODEL_TYPE', /bert/],
    ['a budget that is too small', ['--budget-bytes', '1KiB'], 'DOES_NOT_FIT', /at most 1 KiB/],
  ])('%s', async (_name, args, code, message) => {
    const context = args.includes('--context') ? [] : ['--context', first];
    const command = [...instead(onReference, args), ...question, ...context, ...args];
    const plain = await runProgram(command);
    expect(plain).toMatchObject({ code: 1, stdout: '' });
    expect(plain.stderr).toMatch(message);
    expect(plain.stderr.startsWith(`Error ${code}: `)).toBe(true);
    expect(plain.stderr).toMatch(/\nFix: .+\n$/);
    const json = await runProgram([...command, '--json']);
    expect(json).toMatchObject({ code: 1, stderr: '' });
    const { error } = jsonOf<JsonError>(json);
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
    expect(error.fix).toBeTruthy();
  });

  test('of a process too', async () => {
    const command = [...onReference, ...question, '--context', first, '--budget-bytes', '1KiB'];
    expect(await runCli(command)).toEqual(await runProgram(command));
  });

  test('a budget that is enough makes the chunks smaller and changes no answer', async () => {
    const context = writeIn(folder, 'long.txt', 'Ann went to the garden. '.repeat(20));
    // The reference backend needs the same whatever the chunk; ONNX Runtime does not.
    const command = [
      'ask',
      '--backend',
      'onnxruntime',
      '--model',
      model,
      ...question,
      '--context',
      context,
      '--json',
      '--max-new-tokens',
      '3',
    ];
    const free = jsonOf<AskJson>(await runProgram(command));
    const tight = jsonOf<AskJson>(await runProgram([...command, '--budget-bytes', '2MiB']));
    expect(tight.text).toBe(free.text);
    for (const plan of tight.plans) expect(plan.bytes.total).toBeLessThanOrEqual(2 * 2 ** 20);
    expect(tight.plans[0]?.chunk).toBeLessThan(free.plans[0]?.chunk ?? 0);
  });
});

optional(
  'on WebGPU, asked for by name, the answer is the same, and a GPU in software is warned of',
  softwareGpuAvailability(),
  async () => {
    const args = ['ask', '--model', model, ...question, '--context', first, '--json', ...shortAnswers];
    const outcome = await runCli([...args, '--backend', 'webgpu', '--attention-k', '4']);
    const json = jsonOf<AskJson>(outcome);
    expect(json.engine).toMatchObject({
      backend: 'webgpu',
      description: expect.stringMatching(/^WebGPU, .+/),
    });
    expect(json.text).toBe((await ask(['--context', first, '--attention-k', '4'])).text);
    expect(outcome.code).toBe(0);
    expect(json.warnings).toEqual([
      expect.stringMatching(/^Warning: webgpu: .* is a software \(CPU\) adapter/),
    ]);
  },
  900_000,
);

describe('on TensorFlow.js', () => {
  const onTfjs = ['ask', '--model', model, '--backend', 'tfjs', ...question, '--context', first, '--json'];

  test.each([
    [[], 'wasm', /^TensorFlow\.js \d+\.\d+\.\d+, wasm \(SIMD\), 1 thread, /],
    [['--engine', 'cpu'], 'cpu', /^TensorFlow\.js \d+\.\d+\.\d+, cpu \(plain JavaScript\), 1 thread, /],
  ])('%j answers as the reference backend does', async (engine, name, description) => {
    const args = [...onTfjs, ...shortAnswers, '--attention-k', '4', ...engine];
    const outcome = await runCli(args);
    expect(outcome).toMatchObject({ code: 0, stderr: '' });
    const json = jsonOf<AskJson>(outcome);
    expect(json.engine).toMatchObject({
      backend: 'tfjs',
      engine: name,
      description: expect.stringMatching(description),
    });
    expect(json.text).toBe((await ask(['--context', first, '--attention-k', '4'])).text);
    expect(json.plans.map(({ text }) => text)).toEqual([
      expect.stringMatching(/on tfjs/),
      expect.stringMatching(/on tfjs/),
    ]);
  });

  test.each([
    [
      'wasm',
      without(folder, '@tensorflow/tfjs-backend'),
      /npm install @tensorflow\/tfjs-core @tensorflow\/tfjs-backend-wasm/,
    ],
    [
      'node',
      { TOPK_TFJS_NODE: join(folder, 'nowhere') },
      /npm install @tensorflow\/tfjs-node.*TOPK_TFJS_NODE/,
    ],
  ])('without the package of engine %s: an error with what to install', async (engine, env, fix) => {
    const outcome = await runCli([...onTfjs, '--engine', engine], { env });
    expect(outcome.code).toBe(1);
    expect(jsonOf<JsonError>(outcome).error).toMatchObject({
      code: 'MISSING_PEER',
      fix: expect.stringMatching(fix),
    });
  });
});

test('tfjs webgpu without a GPU says so', async () => {
  const noDriver = join(folder, 'no-driver.json');
  const env = { VK_DRIVER_FILES: noDriver, VK_ICD_FILENAMES: noDriver };
  const args = ['ask', '--model', model, '--backend', 'tfjs', '--engine', 'webgpu', ...question, '--json'];
  const outcome = await runCli([...args, '--context', first], { env });
  expect(outcome.code).toBe(1);
  expect(jsonOf<JsonError>(outcome).error).toMatchObject({
    code: 'NO_DEVICE',
    message: expect.stringMatching(/found no adapter/),
    fix: expect.stringMatching(/--engine wasm/),
  });
});

optional('on TensorFlow, through tfjs-node, the answer is the same', tfjsNodeAvailability(), async () => {
  const args = ['ask', '--model', model, '--backend', 'tfjs', '--engine', 'node', ...question, '--json'];
  const json = jsonOf<AskJson>(
    await runCli([...args, '--context', first, ...shortAnswers, '--threads', '1']),
  );
  expect(json.engine).toMatchObject({
    backend: 'tfjs',
    engine: 'node',
    description: expect.stringMatching(/^TensorFlow\.js \S+, node \(TensorFlow\), 1 thread, /),
  });
  expect(json.text).toBe((await ask(['--context', first])).text);
});

optional(
  'on tfjs webgpu the answer is the same',
  softwareGpuAvailability(),
  async () => {
    const args = ['ask', '--model', model, '--backend', 'tfjs', '--engine', 'webgpu', ...question, '--json'];
    const json = jsonOf<AskJson>(await runCli([...args, '--context', first, ...shortAnswers]));
    expect(json.engine).toMatchObject({ backend: 'tfjs', engine: 'webgpu' });
    expect(json.text).toBe((await ask(['--context', first])).text);
  },
  900_000,
);

describe('without WebGPU and ONNX Runtime', () => {
  const env = without(folder, 'webgpu', 'onnxruntime');

  test('auto goes on with the reference backend after one warning', async () => {
    const { code, stdout, stderr } = await runCli(
      ['ask', '--model', model, ...question, '--context', first, ...shortAnswers],
      { env },
    );
    expect(code).toBe(0);
    expect(stdout).toBe(`${(await ask(['--context', first])).text}\n`);
    expect(stderr).toMatch(
      /^Warning: running on the slow reference backend, because ONNX Runtime is not available .*\n$/,
    );
  });

  test('asking for it by name fails', async () => {
    const outcome = await runCli(
      ['ask', '--model', model, ...question, '--backend', 'onnxruntime', '--json'],
      { env },
    );
    expect(outcome.code).toBe(1);
    expect(jsonOf<JsonError>(outcome).error).toMatchObject({
      code: 'MISSING_PEER',
      fix: expect.stringMatching(/onnxruntime-node/),
    });
  });
});

interface CompareJson {
  readonly exact: Answer;
  readonly topK: Answer;
  readonly agree: boolean;
}

describe('--compare', () => {
  test('runs both and shows time, peak, plans and agreement', async () => {
    const { code, stdout } = await runCli([
      ...onReference,
      ...question,
      '--context',
      first,
      '--compare',
      '--attention-k',
      '4',
    ]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^exact: .+\ntop-k: .+\n/);
    expect(stdout).toMatch(/process peak/);
    expect(stdout).toMatch(/^The answers (agree|differ)\. 42 tokens\.$/m);
    expect(stdout).toMatch(/^Plan of exact\n\nencoder\.0 attention: exactAttention on reference: fused$/m);
    expect(stdout).toMatch(/^Plan of top-k\n\nencoder\.0 attention: topKAttention on reference: fused$/m);
    expect(stdout).toMatch(/^total +\S+ KiB beyond the inputs$/m);
  });

  test('says where k covers the whole text', async () => {
    const { stdout } = await runProgram([...onReference, ...question, '--context', first, '--compare']);
    expect(stdout).toMatch(/^Plan of top-k \(k 64 covers all 42 keys: its attention is exact\)$/m);
  });

  test('gives the answers of two runs of their own', async () => {
    const args = ['--context', first, '--attention-k', '2', '--feed-forward-k', '3'];
    const json = jsonOf<CompareJson>(
      await runCli([...onReference, ...question, ...args, '--compare', '--json']),
    );
    expect(json.exact).toMatchObject({ attentionK: 'exact', feedForwardK: 'exact' });
    expect(json.topK).toMatchObject({ attentionK: 2, feedForwardK: 3, text: (await ask(args)).text });
    expect(json.agree).toBe(json.exact.text === json.topK.text);
    for (const { peakBytes } of [json.exact, json.topK]) expect(peakBytes).toBeGreaterThan(20 * 2 ** 20);
  });

  test('an error of a child is the error of the command', async () => {
    const args = ['--context', first, '--compare', '--budget-bytes', '1KiB', '--json'];
    const outcome = await runCli([...onReference, ...question, ...args]);
    expect(outcome.code).toBe(1);
    expect(jsonOf<JsonError>(outcome).error.code).toBe('DOES_NOT_FIT');
  });
});

describe('SIGINT', () => {
  // Minutes of work for the reference backend.
  const endless = writeIn(folder, 'endless.txt', 'Ann went to the garden. '.repeat(200));

  test.each([[[]], [['--compare']]])('ends a run with exit code 130: %j', async (args) => {
    const command = [...onReference, ...question, '--context', endless, ...args];
    const { env, listening } = signalListeners(folder);
    const child = startCli(command, { env });
    const ended = outcomeOf(child);
    await listening(2);
    child.kill('SIGINT');
    expect(await ended).toEqual({
      code: 130,
      stdout: expect.not.stringContaining('agree'),
      stderr: 'Interrupted.\n',
    });
  });

  test('ends the wait for standard input', async () => {
    const { env, listening } = signalListeners(folder);
    const child = startCli([...onReference, ...question, '--json'], { keepsStdinOpen: true, env });
    const ended = outcomeOf(child);
    await listening(1);
    // Time to begin to read.
    await new Promise((resolve) => setTimeout(resolve, 500));
    child.kill('SIGINT');
    const outcome = await ended;
    expect(outcome.code).toBe(130);
    expect(jsonOf<JsonError>(outcome).error.code).toBe('ABORTED');
  });
});

const hasProc = {
  need: 'proc',
  available: existsSync('/proc/self/task'),
  reason: 'no /proc to find the child process',
};

optional('an engine that crashes is an error, not a silent end', hasProc, async () => {
  const endless = writeIn(folder, 'crash.txt', 'Ann went to the garden. '.repeat(200));
  const parent = startCli([...onReference, ...question, '--context', endless, '--json']);
  const ended = outcomeOf(parent);
  const children = `/proc/${parent.pid}/task/${parent.pid}/children`;
  let child = '';
  while (child === '') {
    await new Promise((resolve) => setTimeout(resolve, 20));
    child = readFileSync(children, 'utf8').trim();
  }
  process.kill(Number(child), 'SIGSEGV');
  const outcome = await ended;
  expect(outcome.code).toBe(1);
  expect(jsonOf<JsonError>(outcome).error).toMatchObject({
    code: 'ENGINE_FAILURE',
    message: expect.stringMatching(/got SIGSEGV/),
  });
});
