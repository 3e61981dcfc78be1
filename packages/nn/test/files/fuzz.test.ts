import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { TopKError } from '@topk-attention/core';
import { fuzzRuns, fuzzSeed, mutated } from '@topk-attention/vitest-preset/mutated';
import { describe, expect, test } from 'vitest';
import {
  bytesSource,
  encodeSafetensors,
  openSafetensors,
  openShards,
  openTorchFile,
  type TensorReader,
} from '../../src/index.js';

const torchFile = (name: string): Promise<Uint8Array> =>
  readFile(fileURLToPath(new URL(`../goldens/torch-files/${name}`, import.meta.url)));
const safetensors = encodeSafetensors(
  {
    a: { dtype: 'F32', shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) },
    b: { dtype: 'BF16', shape: [3], data: Uint16Array.of(1, 2, 3) },
    c: { dtype: 'I64', shape: [], data: BigInt64Array.of(5n) },
  },
  { format: 'pt' },
);
const index = Buffer.from(
  JSON.stringify({
    metadata: { total_size: 30 },
    weight_map: { a: 'x.safetensors', b: 'x.safetensors', c: 'x.safetensors' },
  }),
);

const formats: readonly (readonly [
  name: string,
  original: Uint8Array,
  open: (bytes: Uint8Array) => Promise<TensorReader>,
])[] = [
  ['safetensors files', safetensors, openSafetensors],
  ['archives of torch.save', await torchFile('new.bin'), openTorchFile],
  ['old files of torch.save', await torchFile('old.bin'), openTorchFile],
  [
    'indices of shards',
    index,
    (bytes) =>
      openShards('index', new TextDecoder().decode(bytes), async (file) => {
        // A shard is a name in the folder of its index.
        expect(file).toMatch(/^[^/\\]+$/);
        expect(file).not.toBe('..');
        return bytesSource(safetensors, file);
      }),
  ],
];

describe.each(formats)('broken %s', (_, original, open) => {
  test(`open, or are refused by an error of the project, seed ${fuzzSeed}`, async () => {
    let opened = 0;
    for (let trial = 0; trial < fuzzRuns; trial++) {
      const bytes = mutated(original, fuzzSeed + trial);
      try {
        const reader = await open(bytes);
        opened++;
        for (const [name] of reader.tensors) {
          const values = await reader.read(name);
          // A small file never asks for much memory.
          expect(values.byteLength).toBeLessThanOrEqual(Math.max(bytes.length, safetensors.length));
        }
        await reader.close();
      } catch (error) {
        if (!(error instanceof TopKError)) throw new Error(`trial ${trial}: ${error}`, { cause: error });
      }
    }
    // Faults that nothing could notice, in the values, and others.
    expect(opened).toBeLessThan(fuzzRuns);
  });
});
