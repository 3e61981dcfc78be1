import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Io, runCommandLine } from '@topk-attention/app-kit/node';
import { parseT5Config, t5ParameterSpecs } from '@topk-attention/models';
import { encodeSafetensors } from '@topk-attention/nn';
import { afterAll, expect, test } from 'vitest';
import { createProgram } from '../src/program.js';

const embedded = fileURLToPath(new URL('../../../apps/qa-demo/model', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'fine-tune-t5-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** A T5 of the embedded one's vocabulary that is small enough for the reference backend, and knows nothing. */
function smallModel(): string {
  const path = join(folder, 'model');
  mkdirSync(path, { recursive: true });
  const config = JSON.stringify({
    ...JSON.parse(readFileSync(join(embedded, 'config.json'), 'utf8')),
    ...{ d_model: 8, d_kv: 4, d_ff: 24, num_heads: 2, num_layers: 1, num_decoder_layers: 1 },
  });
  writeFileSync(join(path, 'config.json'), config);
  copyFileSync(join(embedded, 'tokenizer.json'), join(path, 'tokenizer.json'));
  const weights = t5ParameterSpecs(parseT5Config(config)).map(({ name, shape }) => {
    const size = shape.reduce((all, one) => all * one, 1);
    const data = Float32Array.from({ length: size }, (_, at) => 0.3 * Math.sin(1 + at * 12.9898));
    return [name, { dtype: 'F32', shape, data }] as const;
  });
  writeFileSync(join(path, 'model.safetensors'), encodeSafetensors(Object.fromEntries(weights)));
  return path;
}

function storiesIn(name: string): string {
  const path = join(folder, name);
  writeFileSync(
    path,
    '1 Mary moved to the office.\n2 John went to the garden.\n3 Where is Mary? \toffice\t1\n'.repeat(3),
  );
  return path;
}

async function call(...args: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const written = { stdout: '', stderr: '' };
  const collect = (name: keyof typeof written): Io['stdout'] => ({
    write(text: string) {
      written[name] += text;
    },
  });
  const { signal } = new AbortController();
  const io: Io = { stdin: process.stdin, stdout: collect('stdout'), stderr: collect('stderr'), signal };
  return { code: await runCommandLine(createProgram(io), args, io), ...written };
}

test('tunes both ways, with as many seeds as asked for, and keeps a twelfth of the units', async () => {
  const stories = ['--train', storiesIn('train.txt'), '--test', storiesIn('test.txt')];
  const sizes = ['--steps', '3', '--batch', '2', '--seeds', '2', '--test-questions', '2'];
  const settings = ['--model', smallModel(), '--backend', 'reference', '--json'];
  const { code, stdout, stderr } = await call(...stories, ...sizes, ...settings);
  expect(stderr).toBe('');
  expect(code).toBe(0);
  const { questions, runs } = JSON.parse(stdout);
  expect(questions).toBe(2);
  expect(
    runs.map(({ feedForward, seed }: { feedForward: string; seed?: number }) => [feedForward, seed]),
  ).toEqual([
    ['exact', undefined],
    ['top-k 2 of 24', undefined],
    ['exact', 1],
    ['top-k 2 of 24', 1],
    ['exact', 2],
    ['top-k 2 of 24', 2],
  ]);
  for (const { seed, loss, accuracy } of runs) {
    expect(accuracy).toBeGreaterThanOrEqual(0);
    if (seed !== undefined) expect(loss).toBeGreaterThan(0);
  }
  expect(runs[2].loss).not.toBe(runs[3].loss);
});

test('a file that is not there is named', async () => {
  const { code, stderr } = await call(
    '--train',
    join(folder, 'nowhere.txt'),
    '--test',
    'x',
    '--backend',
    'reference',
  );
  expect([code, stderr]).toEqual([1, expect.stringContaining('nowhere.txt cannot be read')]);
});
