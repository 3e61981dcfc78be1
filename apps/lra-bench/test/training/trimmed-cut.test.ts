import { cast } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { contextOf, initialize } from '@topk-attention/nn';
import { expect, test } from 'vitest';
import { type Rows, RowsBuilder } from '../../src/data/rows.js';
import { batchOf, documentsOf } from '../../src/model/batches.js';
import { classifier } from '../../src/model/classifier.js';
import { evenCut } from '../../src/model/parts.js';
import type { ModelSettings } from '../../src/model/settings.js';
import { presetOf } from '../../src/presets/presets.js';
import type { TaskName } from '../../src/tasks/task.js';
import { trimmedCut, trimmedLengths } from '../../src/training/trimmed-cut.js';

/** Documents of 1 token up to more than half of the most, most of them short; every 500th is full. With zeros all are. */
function rowsOf(count: number, parts: 1 | 2 = 1, zeros = false, most = 512): Rows {
  const builder = new RowsBuilder(parts);
  let state = 7;
  const next = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
  for (let row = 0; row < count; row++) {
    const documents = Array.from({ length: parts }, () => {
      const length = zeros || row % 500 === 499 ? most : 1 + Math.floor(0.6 * most * next() ** 3);
      const shown = next();
      return Uint8Array.from({ length }, () => (zeros && next() > shown ? 0 : 1 + Math.floor(13 * next())));
    });
    builder.add(row % 2, ...documents);
  }
  return builder.build();
}

function settingsOf(task: TaskName, tokens = 512): ModelSettings {
  return { ...presetOf('small', task).model, tokens, paddedTokens: tokens, positionRows: tokens };
}

const indices = (count: number, from = 0): number[] => Array.from({ length: count }, (_, at) => from + at);

test('parts hold the rows of the batch, by length, and all their tokens; shapes are few', () => {
  const rows = rowsOf(3000);
  const settings = settingsOf('text');
  const lengths = trimmedLengths(rows, settings, 16, 4);
  expect(trimmedLengths(rows, settings, 16, 4)).toEqual(lengths);
  expect(lengths.tokens).toHaveLength(4);
  expect(lengths.tokens.every((tokens) => tokens % 64 === 0)).toBe(true);
  expect([...lengths.tokens].sort((a, b) => a - b)).toEqual(lengths.tokens);
  expect(lengths.tokens[0]).toBe(64);
  const cut = trimmedCut(rows, settings, lengths);
  const shapes = new Map<string, number>();
  for (let at = 0; at + 16 <= rows.length; at += 16) {
    const parts = cut(indices(16, at));
    expect(parts.map((part) => part.indices.length)).toEqual([4, 4, 4, 4]);
    expect(parts.flatMap((part) => part.indices).sort((a, b) => a - b)).toEqual(indices(16, at));
    for (const part of parts)
      for (const row of part.indices) expect(rows.document(row).length).toBeLessThanOrEqual(part.tokens);
    const shape = parts.map(({ tokens }) => tokens).join();
    shapes.set(shape, (shapes.get(shape) ?? 0) + 1);
  }
  expect([...shapes.keys()].sort()).toEqual([lengths.tokens.join(), '512,512,512,512'].sort());
  expect(shapes.get(lengths.tokens.join())).toBeGreaterThan(0.9 * (rows.length / 16));
});

test('a batch that is not full has all tokens', () => {
  const rows = rowsOf(400);
  const settings = settingsOf('text');
  const cut = trimmedCut(rows, settings, trimmedLengths(rows, settings, 16, 4));
  expect(cut(indices(7)).map((part) => [part.indices.length, part.tokens])).toEqual([
    [4, 512],
    [3, 512],
  ]);
  expect(cut([])).toEqual([]);
});

test.each<[string, TaskName, 1 | 2, boolean]>([
  ['documents', 'text', 1, false],
  ['pairs of documents', 'retrieval', 2, false],
  ['pictures whose black pixels are hidden', 'pathfinder', 1, true],
])('a trimmed model says the same of %s', async (_name, task, parts, zeros) => {
  const rows = rowsOf(8, parts, zeros, 192);
  const settings = settingsOf(task, 192);
  const backend = createReferenceBackend();
  const model = classifier(settings, { name: 'exact' });
  const parameters = initialize(backend, model, 5);
  const cut = trimmedCut(rows, settings, trimmedLengths(rows, settings, 8, 2));
  const logitsOf = async (which: ReturnType<typeof cut>): Promise<number[]> => {
    const byRow = new Map<number, number[]>();
    for (const part of which) {
      const batch = batchOf(task, rows, part, settings);
      expect(batch.ids.length).toBe(part.indices.length * parts * part.tokens);
      const logits = model.apply(contextOf(parameters), documentsOf(backend, batch));
      const values = Array.from(await cast(logits, 'f32').data());
      const classes = values.length / part.indices.length;
      for (const [at, row] of part.indices.entries())
        byRow.set(row, values.slice(at * classes, (at + 1) * classes));
    }
    return [...byRow].sort(([a], [b]) => a - b).flatMap(([, values]) => values);
  };
  const trimmed = cut(indices(8));
  expect(trimmed[0]?.tokens).toBeLessThan(192);
  const expected = await logitsOf(evenCut(8, 192)(indices(8)));
  for (const [at, value] of (await logitsOf(trimmed)).entries())
    expect(value).toBeCloseTo(expected[at] as number, 5);
});

test('a mean of all tokens, padding too, is refused', () => {
  const settings: ModelSettings = { ...settingsOf('image'), pooling: 'all' };
  expect(() => trimmedLengths(rowsOf(40), settings, 8, 2)).toThrow(/--trim does not fit/);
});
