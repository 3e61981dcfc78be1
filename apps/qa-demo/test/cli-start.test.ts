import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { StartReport } from '../src/report/html.js';
import {
  type JsonError,
  jsonOf,
  runCli,
  smallModel,
  temporaryFolder,
  without,
  writeIn,
} from './cli-support.js';

const folder = temporaryFolder();
const model = smallModel(folder, { n_positions: 64 });
const document = writeIn(
  folder,
  'document.txt',
  'Ann went to the garden. Bob is in the <kitchen>. '.repeat(3),
);
const questions = [
  { question: 'Where is Ann?', answer: 'garden' },
  { question: 'Where is <Bob>?', answer: 'kitchen' },
];
const list = writeIn(folder, 'questions.json', JSON.stringify(questions));
const report = join(folder, 'made', 'start.html');
const command = ['start', '--model', model, '--document', document, '--questions', list, '--report', report];

test('answers every question exact and top-k, names the engine, sums up, writes the report', async () => {
  const { code, stdout, stderr } = await runCli(command, { env: without(folder, 'webgpu') });
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toMatch(/^Engine +ONNX Runtime \(onnxruntime-node \d+\.\d+\.\d+\), cpu, \d+ threads?, .+$/m);
  expect(stdout).toMatch(/^Warning: 1\d\d tokens, but this model was trained on at most 64/m);
  expect(stdout).toMatch(
    /^1\. Where is Ann\?\n {3}exact {2}.*\(.*s\)\n {3}top-k {2}.*\(.*s\)\n\n2\. Where is <Bob>\?\n/m,
  );
  expect(stdout).toMatch(/^question +gold +exact +top-k +agree +exact ms +top-k ms +exact MiB +top-k MiB$/m);
  expect(stdout).toMatch(/^Where is Ann\? +garden .* (yes|no) +\d+ +\d+ +\d+ +\d+$/m);
  expect(stdout).toMatch(/^Right: exact \d of 2, top-k \d of 2; the two agree on \d of 2\.$/m);
  expect(stdout).toContain(`Report  ${report}\n`);

  const html = readFileSync(report, 'utf8');
  expect(html).toContain('ONNX Runtime');
  expect(html).toContain('Where is &#60;Bob&#62;?');
  expect(html.match(/<rect /g)).toHaveLength(2 * questions.length * 2);
  // Nothing from elsewhere.
  expect(html).not.toMatch(/\b(src|href)=|https?:/);
});

test('--json holds the same for programs', async () => {
  const outcome = await runCli([...command, '--backend', 'reference', '--attention-k', '3', '--json']);
  expect(outcome).toMatchObject({ code: 0, stderr: '' });
  const { rows, engine } = jsonOf<StartReport>(outcome);
  expect(engine.backend).toBe('reference');
  expect(rows.map(({ question, gold }) => ({ question, answer: gold }))).toEqual(questions);
  for (const { exact, topK, agree } of rows) {
    expect(exact).toMatchObject({ attentionK: 'exact', feedForwardK: 'exact' });
    expect(topK).toMatchObject({ attentionK: 3, feedForwardK: 8 });
    expect(agree).toBe(exact.text === topK.text);
  }
});

test('fails where no fast engine is there, and writes no report', async () => {
  const missing = join(folder, 'missing.html');
  const env = without(folder, 'webgpu', 'onnxruntime');
  const outcome = await runCli([...command, '--report', missing, '--json'], { env });
  expect(outcome.code).toBe(1);
  expect(jsonOf<JsonError>(outcome).error).toMatchObject({
    code: 'MISSING_PEER',
    fix: /--backend reference/,
  });
  expect(existsSync(missing)).toBe(false);
});

test('bad questions are an error', async () => {
  const bad = writeIn(folder, 'bad.json', '[{"question": "Where?"}]');
  const outcome = await runCli([
    'start',
    '--model',
    model,
    '--document',
    document,
    '--questions',
    bad,
    '--json',
  ]);
  expect(outcome.code).toBe(1);
  expect(jsonOf<JsonError>(outcome).error).toMatchObject({ code: 'FILE_CORRUPT', message: /bad\.json/ });
});
