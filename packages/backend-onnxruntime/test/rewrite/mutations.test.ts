import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TopKError } from '@topk-attention/core';
import { readTestModel } from '@topk-attention/onnx-models';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { rewriteFile, rewriteModel } from '../../src/rewrite/index.js';

const runs = Number(process.env.TOPK_FUZZ_RUNS || 100);
const seed = Number(process.env.TOPK_FUZZ_SEED || 13);
const originals = ['block-bert4-opset-9', 'block-distilbert4', 'block-bart4'].map(readTestModel);

const changed = fc
  .record({
    original: fc.constantFrom(...originals),
    edits: fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 6 }),
    // Most bytes are weights; the graph comes first.
    isInGraph: fc.boolean(),
    cut: fc.option(fc.nat(), { freq: 6 }),
  })
  .map(({ original, edits, isInGraph, cut }) => {
    const bytes = new Uint8Array(original);
    for (const [place, value] of edits) bytes[place % (isInGraph ? 4000 : bytes.length)] = value;
    return bytes.subarray(0, cut === null ? bytes.length : cut % bytes.length);
  });

test(`changed files are rewritten or refused, and nothing else is thrown, seed ${seed}`, () => {
  fc.assert(
    fc.property(changed, (bytes) => {
      try {
        const { report } = rewriteModel(bytes, { attention: { k: 2 } });
        expect(report.blocks.length).toBeLessThanOrEqual(1);
      } catch (error) {
        if (!(error instanceof TopKError)) throw error;
      }
    }),
    { numRuns: runs, seed },
  );
});

test('a changed file that is refused leaves nothing behind', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'topk-mutations-'));
  try {
    const [source, target] = [join(folder, 'model.onnx'), join(folder, 'new.onnx')];
    await fc.assert(
      fc.asyncProperty(changed, async (bytes) => {
        await writeFile(source, bytes);
        const isWritten = await rewriteFile(source, target).then(
          () => true,
          (error: unknown) => {
            if (error instanceof TopKError) return false;
            throw error;
          },
        );
        expect(await readdir(folder)).toEqual(isWritten ? ['model.onnx', 'new.onnx'] : ['model.onnx']);
        expect(Buffer.compare(await readFile(source), bytes)).toBe(0);
        await rm(target, { force: true });
      }),
      { numRuns: Math.ceil(runs / 5), seed: seed + 6 },
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
