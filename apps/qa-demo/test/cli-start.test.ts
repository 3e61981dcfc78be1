import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { expect, test } from 'vitest';
import { ownBytes, type Run, type StartReport } from '../src/demo/report.js';
import {
  importing,
  type JsonError,
  jsonOf,
  runCli,
  smallModel,
  temporaryFolder,
  without,
  writeIn,
} from './cli-support.js';
import { runProgram } from './run-program.js';

const folder = temporaryFolder();
const model = smallModel(folder, { n_positions: 64 });
const filling = Array.from({ length: 9 }, (_, at) => `Nothing is told here, number ${at}.`);
const document = writeIn(
  folder,
  'document.txt',
  ['Ann went to the garden.', ...filling, 'Bob is in the <kitchen>.'].join('\n\n'),
);
const questions = [
  { question: 'Where is Ann?', answer: 'garden' },
  { question: 'Where is <Bob>?', answer: 'kitchen' },
];
const list = writeIn(folder, 'questions.json', JSON.stringify(questions));
const first = writeIn(folder, 'question.json', JSON.stringify(questions.slice(0, 1)));
const report = join(folder, 'made', 'start.html');
const command = ['start', '--model', model, '--document', document, '--questions', list, '--report', report];
/** Where little need be read: a text of one paragraph is asked about as a whole only, in three processes. */
const paragraph = writeIn(
  folder,
  'paragraph.txt',
  `Ann went to the garden. ${filling.slice(0, 2).join(' ')}`,
);
const short = ['start', '--model', model, '--document', paragraph, '--questions', first, '--report', report];
/** Three to nine processes, each loading a model. */
const MINUTES = 600_000;

/** Environment in which every process runs some JavaScript first. */
function preload(name: string, code: string): { readonly NODE_OPTIONS: string } {
  return importing(writeIn(folder, `${name}.mjs`, code));
}

test(
  'three ways at two lengths: engine, every answer, tables, what they say, and the report',
  async () => {
    const { code, stdout, stderr } = await runCli(command, { env: without(folder, 'webgpu') });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(
      /^Engine +ONNX Runtime \(onnxruntime-node \d+\.\d+\.\d+\), cpu, \d+ threads?, .+$/m,
    );
    expect(stdout).toMatch(/^Asked +1\. Where is Ann\?\n +2\. Where is <Bob>\?$/m);
    expect(stdout).toMatch(/^A quarter of the text, \d{2,3} tokens with the first question$/m);
    expect(stdout).toMatch(
      /^The whole text, 3\d\d tokens with the first question\nWarning: 3\d\d tokens, but /m,
    );
    for (const way of ['plain', 'exact', 'top-k'])
      expect(stdout).toMatch(
        new RegExp(`^ {3}${way} {2}1\\. .*\\(.*s\\)\\n {3}${way} {2}2\\. .*\\(.*s\\)$`, 'm'),
      );
    expect(stdout).toMatch(/^question +right answer +plain +exact +top-k$/m);
    expect(stdout).toMatch(/^tokens +attention +an answer +peak MiB +beyond model +right$/m);
    expect(stdout).toMatch(/^ +3\d\d +plain, all scores at once +\S+ m?s +\d+ +\d+ +\d of 2$/m);
    expect(stdout).toMatch(/^ +3\d\d +top-k, in chunks +\S+ m?s +\d+ +\d+ +\d of 2$/m);
    for (const finding of ['What chunks buy: memory.', 'What k buys: time', 'What is shown: '])
      expect(stdout).toContain(`\n${finding}`);
    expect(stdout).toContain(`Report  ${report}\n`);
    for (const line of stdout.slice(stdout.indexOf('\nPlain is')).split('\n'))
      expect(line.length).toBeLessThanOrEqual(Math.max(80, report.length + 8));

    const html = readFileSync(report, 'utf8');
    expect(html).toContain('ONNX Runtime');
    expect(html).toContain('Where is &#60;Bob&#62;?');
    expect(html).toContain('What chunks buy: memory');
    expect(html).toMatch(/Right answers over all lengths: plain \d of 4, exact \d of 4, top-k \d of 4\./);
    expect(html).toMatch(/<p>\d{4}-\d\d-\d\d, <code>pnpm qa start --model /);
    // Two drawings, a bar for each way at each length, and their content in words.
    expect(html.match(/<rect /g)).toHaveLength(2 * 2 * 3);
    expect(html.match(/<svg [^>]*role="img" aria-label="[^"]+ plain: [^"]+"><title>/g)).toHaveLength(2);
    // Nothing from elsewhere.
    expect(html).not.toMatch(/\b(src|href)=|https?:/);
  },
  MINUTES,
);

test(
  '--json holds the same for programs, and all ways that keep everything answer alike',
  async () => {
    // A few paragraphs: on the reference backend a prompt of 1,200 tokens takes long, and proves no more.
    const few = writeIn(folder, 'few.txt', ['Ann went to the garden.', ...filling.slice(0, 3)].join('\n\n'));
    const args = ['--backend', 'reference', '--attention-k', '3', '--long', '--json'];
    const outcome = await runProgram([...command.slice(0, 4), few, ...command.slice(5), ...args]);
    expect(outcome).toMatchObject({ code: 0, stderr: '' });
    const { runs, engine, kept, questions: asked } = jsonOf<StartReport>(outcome);
    expect(engine.backend).toBe('reference');
    expect(asked).toEqual(questions);
    expect(kept).toEqual({ attention: 3, feedForward: 8 });
    expect(runs.map(({ way, answers }) => [way, answers.length])).toEqual(
      [2, 2, 1].flatMap((count) => ['plain', 'exact', 'top-k'].map((way) => [way, count])),
    );
    for (let at = 0; at < runs.length; at += 3) {
      const [plain, exact, topK] = runs.slice(at, at + 3);
      expect(plain?.answers.map(({ text }) => text)).toEqual(exact?.answers.map(({ text }) => text));
      expect(plain?.tokens).toBe(topK?.tokens);
      expect(topK?.answers[0]).toMatchObject({ attentionK: 3, feedForwardK: 8 });
    }
  },
  MINUTES,
);

test(
  'plain attention really holds all scores and biases: memory shows them, and not those of chunks',
  async () => {
    const long = writeIn(folder, 'long.txt', 'Ann went to the garden. '.repeat(120));
    const args = [
      '--document',
      long,
      '--questions',
      first,
      '--backend',
      'onnxruntime',
      '--threads',
      '1',
      '--json',
    ];
    const outcome = await runCli([...command.slice(0, 3), ...args, '--report', join(folder, 'long.html')]);
    const { runs } = jsonOf<StartReport>(outcome);
    const [plain, exact] = runs as [Run, Run];
    const heads = JSON.parse(readFileSync(join(model, 'config.json'), 'utf8')).num_heads;
    const allPairs = 4 * heads * plain.tokens ** 2;
    expect(ownBytes(plain)).toBeGreaterThan(2 * allPairs);
    expect(ownBytes(exact)).toBeLessThan(0.7 * ownBytes(plain));
  },
  MINUTES,
);

test.each([
  [
    'has no room',
    'process.availableMemory = () => 2 ** 10;',
    'does not fit',
    /^does not fit: needs about \S+ [KM]iB, 1 KiB are free$/,
  ],
  [
    'is killed for its memory',
    `const { on } = process;
    process.on = (name, listener) => on.call(process, name, (message, ...rest) => {
      if (name === 'message' && message.argument?.isPlain) process.kill(process.pid, 'SIGKILL');
      listener(message, ...rest);
    });`,
    'out of memory',
    /^ran out of memory$/,
  ],
])(
  'plain attention that %s is a line of the table, not a crash',
  async (name, code, summary, message) => {
    const outcome = await runCli([...short, '--backend', 'onnxruntime', '--json'], {
      env: preload(name, code),
    });
    expect(outcome.code).toBe(0);
    const { runs } = jsonOf<StartReport>(outcome);
    for (const { way, failure, answers, tokens } of runs) {
      expect(tokens).toBeGreaterThan(50);
      if (way !== 'plain')
        expect({ failure, count: answers.length }).toEqual({ failure: undefined, count: 1 });
      else expect(failure).toEqual({ summary, message: expect.stringMatching(message) });
    }
    expect(readFileSync(report, 'utf8')).toContain(`>${summary}`);
  },
  MINUTES,
);

optional(
  'on WebGPU memory is that of the GPU, and plain attention gives the same answers',
  softwareGpuAvailability(),
  async () => {
    // One length: every process compiles its kernels in software, which takes most of a minute.
    const outcome = await runCli([...short, '--backend', 'webgpu', '--json']);
    const { engine, runs } = jsonOf<StartReport>(outcome);
    expect(engine).toMatchObject({ backend: 'webgpu', memory: 'gpu' });
    const [plain, exact] = runs as [Run, Run];
    expect(plain.failure).toBeUndefined();
    expect(plain.answers.map(({ text }) => text)).toEqual(exact.answers.map(({ text }) => text));
    // A process would count some 100 MiB.
    for (const { peakBytes } of runs) expect(peakBytes).toBeLessThan(64 * 2 ** 20);
    const heads = JSON.parse(readFileSync(join(model, 'config.json'), 'utf8')).num_heads;
    expect(ownBytes(plain)).toBeGreaterThan(2 * 4 * heads * plain.tokens ** 2);
  },
  MINUTES,
);

test('fails where no fast engine is there, and writes no report', async () => {
  const missing = join(folder, 'missing.html');
  const env = without(folder, 'webgpu', 'onnxruntime');
  const outcome = await runCli([...command.slice(0, 7), '--report', missing, '--json'], { env });
  expect(outcome.code).toBe(1);
  expect(jsonOf<JsonError>(outcome).error).toMatchObject({
    code: 'MISSING_PEER',
    fix: expect.stringMatching(/--backend reference/),
  });
  expect(existsSync(missing)).toBe(false);
});

test('bad questions are an error', async () => {
  const bad = writeIn(folder, 'bad.json', '[{"question": "Where?"}]');
  const outcome = await runProgram([...command.slice(0, 5), '--questions', bad, '--json']);
  expect(outcome.code).toBe(1);
  expect(jsonOf<JsonError>(outcome).error).toMatchObject({
    code: 'FILE_CORRUPT',
    message: expect.stringMatching(/bad\.json/),
  });
});

test('a folder as --report is told before anything runs', async () => {
  const outcome = await runProgram([...command.slice(0, 7), '--report', folder, '--json']);
  expect(outcome.code).toBe(1);
  expect(jsonOf<JsonError>(outcome).error.message).toMatch(/cannot be written, got a folder/);
  expect(readdirSync(folder).filter((name) => name.endsWith('.partial'))).toEqual([]);
});
