import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { optional } from '@topk-attention/vitest-preset';
import { expect } from 'vitest';
import { GraphBuilder } from '../../src/onnx/graph-builder.js';
import { encodeModel } from '../../src/onnx/write-model.js';
import { rewriteModel } from '../../src/rewrite/index.js';
import { memoryMap } from '../support/process-growth.js';

const child = fileURLToPath(new URL('../support/peak-child.mjs', import.meta.url));
const HEADS = 12;
const tokens = ['batch', 'length', HEADS * 64] as const;

/** A layer's attention; instead of projections its parts have their signs changed, which takes as much memory. */
function layer(): Uint8Array {
  const onnx = new GraphBuilder();
  const turned = (value: string, perm: readonly number[]): string => onnx.op('Transpose', [value], { perm });
  const heads = (name: string, perm: readonly number[]): string => {
    const part = onnx.op('Neg', [onnx.input(name, 'f32', tokens)]);
    return turned(onnx.op('Reshape', [part, onnx.i64([0, 0, HEADS, 64])]), perm);
  };
  const scores = onnx.op('MatMul', [heads('q', [0, 2, 1, 3]), heads('k', [0, 2, 3, 1])]);
  const weights = onnx.op('Softmax', [onnx.op('Mul', [scores, onnx.f32(1 / 8)])], { axis: -1 });
  const made = turned(onnx.op('MatMul', [weights, heads('v', [0, 2, 1, 3])]), [0, 2, 1, 3]);
  onnx.output(onnx.op('Reshape', [made, onnx.i64([0, 0, HEADS * 64])]), 'f32', tokens);
  return encodeModel(onnx.model());
}

/** Mebibytes by which a process grows that runs the layer rewritten. */
async function growth(folder: string, contrib: boolean, length: number): Promise<number> {
  const file = join(folder, `${contrib}-${length}.onnx`);
  await writeFile(file, rewriteModel(layer(), { contrib, strict: true }).model);
  const task = JSON.stringify([file, [1, length, HEADS * 64]]);
  const { stdout } = await promisify(execFile)(process.execPath, [child, task]);
  return Number(stdout) / 2 ** 20;
}

optional(
  'the memory of the operator grows with the length, and is less than that of the loop',
  memoryMap,
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'topk-contrib-'));
    try {
      const [half, whole] = [await growth(folder, true, 4096), await growth(folder, true, 8192)];
      // All scores of 8,192 tokens are 3,072 MiB; queries, keys, values and the output are 24 MiB each.
      expect(whole).toBeLessThan(300);
      expect(whole / half).toBeLessThan(2.3);
      expect(whole).toBeLessThan(await growth(folder, false, 8192));
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
);
