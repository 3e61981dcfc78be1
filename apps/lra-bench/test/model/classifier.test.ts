import { add, cast, narrow, scope, sum, type Tensor, tensor, where } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { contextOf, embedding, encoderStack, exact, initialize, within } from '@topk-attention/nn';
import { describe, expect, test } from 'vitest';
import { RowsBuilder } from '../../src/data/rows.js';
import { batchOf, documentsOf } from '../../src/model/batches.js';
import { classifier } from '../../src/model/classifier.js';
import { mechanisms } from '../../src/model/mechanism.js';
import { type MechanismSettings, type ModelSettings, mechanismNames } from '../../src/model/settings.js';
import { type PresetName, presetOf } from '../../src/presets/presets.js';
import { type TaskName, taskNames, tasks } from '../../src/tasks/task.js';

const backend = createReferenceBackend();

/** A preset's model over short documents. */
function short(preset: PresetName, task: TaskName, tokens = 16): ModelSettings {
  const { model } = presetOf(preset, task);
  return { ...model, tokens, paddedTokens: tokens, positionRows: tokens + 1 };
}

function rowsOf(task: TaskName, lengths: readonly number[]) {
  const { parts } = tasks[task];
  const builder = new RowsBuilder(parts);
  for (const [row, length] of lengths.entries()) {
    const document = (part: number): Uint8Array =>
      Uint8Array.from({ length }, (_, at) => 1 + ((7 * row + 3 * at + 5 * part) % 14));
    builder.add(row % 2, ...Array.from({ length: parts }, (_, part) => document(part)));
  }
  return builder.build();
}

async function logitsOf(
  task: TaskName,
  settings: ModelSettings,
  rows: ReturnType<typeof rowsOf>,
  mechanism: MechanismSettings = { name: 'exact' },
  dtype: 'f32' | 'f16' = 'f32',
): Promise<number[]> {
  const model = classifier(settings, mechanism);
  const parameters = Object.fromEntries(
    Object.entries(initialize(backend, model, 5)).map(([name, one]) => [name, cast(one, dtype)]),
  );
  const indices = Array.from({ length: rows.length }, (_, at) => at);
  const batch = batchOf(task, rows, { indices, tokens: settings.tokens }, settings);
  const logits = model.apply(contextOf(parameters), documentsOf(backend, batch));
  return Array.from(await cast(logits, 'f32').data());
}

describe.each(taskNames)('%s', (task) => {
  test.each<PresetName>(['small', 'small-clean', 'original'])(
    '%s gives a row of logits per example',
    async (preset) => {
      const logits = await logitsOf(task, short(preset, task), rowsOf(task, [16, 9]));
      expect(logits).toHaveLength(2 * tasks[task].classes);
      expect(logits.every(Number.isFinite)).toBe(true);
      // With the weights of mixed precision it is the same network. The original's models are large.
      if (preset === 'original') return;
      const halves = await logitsOf(task, short(preset, task), rowsOf(task, [16, 9]), undefined, 'f16');
      for (const [at, value] of halves.entries())
        expect(Math.abs(value - (logits[at] as number))).toBeLessThan(0.02);
    },
  );
});

test.each<MechanismSettings>(
  mechanismNames.map((name) => ({
    name,
    ...(mechanisms[name].options.includes('k') && { k: 4 }),
    ...(mechanisms[name].options.includes('features') && { features: 32 }),
    ...(mechanisms[name].options.includes('landmarks') && { landmarks: 4 }),
  })),
)('padding changes nothing with the mean over tokens: $name', async (mechanism) => {
  const rows = rowsOf('listops', [9]);
  const padded = await logitsOf(
    'listops',
    { ...short('small-clean', 'listops', 16), positionRows: 16 },
    rows,
    mechanism,
  );
  const whole = await logitsOf(
    'listops',
    { ...short('small-clean', 'listops', 9), positionRows: 16 },
    rows,
    mechanism,
  );
  for (const [at, value] of padded.entries()) expect(value).toBeCloseTo(whole[at] as number, 5);
});

test('a mechanism that sees distances is refused where hidden pixels are moved', () => {
  const settings = short('small', 'image');
  for (const name of [
    'relative-kernel',
    'soft',
    'conv-luna',
    'rfa-gate',
    'sparsefinder',
    'causal-luna',
  ] as const) {
    expect(() => classifier(settings, { name })).toThrow(/--zero-pixel shifted/);
    expect(() => classifier({ ...settings, zeroPixel: 'shifted' }, { name })).not.toThrow();
  }
});

test('top-k that keeps every key is exact attention', async () => {
  const rows = rowsOf('text', [16, 12]);
  const settings = short('small', 'text');
  expect(await logitsOf('text', settings, rows, { name: 'top-k', k: 16 })).toEqual(
    await logitsOf('text', settings, rows),
  );
});

test('the trap of the padded mean: a document twice in a longer padding gives another vector', async () => {
  const rows = rowsOf('listops', [9]);
  const settings = { ...short('small', 'listops', 16), positionRows: 16 };
  const other = await logitsOf('listops', { ...settings, paddedTokens: 32 }, rows);
  expect(other).not.toEqual(await logitsOf('listops', settings, rows));
});

test('black pixels moved to the end are black pixels hidden by a mask, where they stand', async () => {
  const tokens = 12;
  const pixels = Uint8Array.of(0, 5, 0, 0, 200, 7, 0, 31, 90, 0, 0, 4);
  const builder = new RowsBuilder();
  builder.add(1, pixels);
  const settings = { ...short('small', 'image', tokens), positionRows: tokens };
  const moved = await logitsOf('image', settings, builder.build());

  const model = classifier(settings, { name: 'exact' });
  const parameters = initialize(backend, model, 5);
  const context = contextOf(parameters);
  const weight = (name: string): Tensor => parameters[name] as Tensor;
  const plain = scope(() => {
    const ids = tensor(backend, Int32Array.from(pixels), [1, tokens]);
    const x = add(embedding(weight('tokens.weight'), ids), narrow(weight('positions.weight'), 0, 0, tokens));
    const visible = Array.from(pixels, (level) => level !== 0);
    const mask = tensor(
      backend,
      Uint8Array.from({ length: tokens * tokens }, (_, at) => (visible[at % tokens] ? 1 : 0)),
      [1, 1, tokens, tokens],
      'bool',
    );
    const encoder = encoderStack({
      ...{ layers: 2, width: 64, heads: 2, hidden: 128, normFirst: true },
      attention: { mechanism: exact() },
      feedForward: { activation: 'gelu' },
    });
    const encoded = encoder.apply(within(context, 'encoder'), x, { mask });
    const there = tensor(backend, Uint8Array.from(visible, Number), [1, tokens, 1], 'bool');
    return sum(where(there, encoded, 0), { axes: [1] });
  });
  const pooled = Array.from(await plain.data(), (value) => value / tokens);
  // The head by hand.
  const dense = async (name: string, input: readonly number[]): Promise<number[]> => {
    const [matrix, bias] = [await weight(`${name}.weight`).data(), await weight(`${name}.bias`).data()];
    return Array.from(bias, (one, row) =>
      input.reduce(
        (total, value, at) => total + value * (matrix[row * input.length + at] as number),
        one as number,
      ),
    );
  };
  const hidden = (await dense('head.0', pooled)).map((value) => Math.max(0, value));
  for (const [at, value] of (await dense('output', hidden)).entries())
    expect(moved[at]).toBeCloseTo(value, 5);
});

test('two documents: swapping them swaps their halves of the features', async () => {
  const builder = new RowsBuilder(2);
  const [a, b] = [Uint8Array.of(10, 20, 30), Uint8Array.of(40, 50)];
  builder.add(0, a, b);
  builder.add(0, b, a);
  builder.add(0, a, a);
  const settings = short('small', 'retrieval');
  const logits = await logitsOf('retrieval', settings, builder.build());
  // a - b changes its sign, so the order counts.
  expect(logits.slice(0, 2)).not.toEqual(logits.slice(2, 4));
  const alone = new RowsBuilder(2);
  alone.add(0, a, a);
  const single = await logitsOf('retrieval', settings, alone.build());
  for (const [at, value] of single.entries()) expect(logits[4 + at]).toBeCloseTo(value, 5);
});

test('the first values of biases are those of any linear layer', () => {
  const model = classifier(presetOf('small', 'listops').model, { name: 'exact' });
  const bias = model.parameters['encoder.layers.0.self_attn.q_proj.bias'];
  const values = bias?.initializer(bias.shape, 3) ?? [];
  expect(values.some((value) => value !== 0)).toBe(true);
  expect(Math.max(...values)).toBeLessThanOrEqual(1 / 8);
});

test.each([
  ['luna', 1 / 8],
  ['conv-luna', 1],
] as const)('the memory of %s begins with a deviation of %d', (name, deviation) => {
  const memory = classifier(presetOf('small', 'listops').model, { name, landmarks: 64 }).parameters[
    'encoder.memory'
  ];
  expect(memory?.shape).toEqual([64, 64]);
  const values = Array.from(memory?.initializer([64, 64], 3) ?? []);
  const squares = values.reduce((total, value) => total + value * value, 0);
  expect(Math.sqrt(squares / values.length) / deviation).toBeCloseTo(1, 1);
});
