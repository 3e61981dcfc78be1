import { encoderTraining } from '@topk-attention/bench-kit';
import { expect, test } from 'vitest';
import { createWebGpuBackend } from '../../src/index.js';
import { countingDevice } from '../support/counting-device.js';

const model = { layers: 2, width: 64, heads: 2, hidden: 128, vocabulary: 256, classes: 10, batch: 32 };

/** Of a recorded step of docs/kernels/training.md on a large GPU. */
async function countsOf(tokens: number, k: number | undefined): Promise<string> {
  const { device, counts } = countingDevice();
  const backend = await createWebGpuBackend({ device });
  const training = encoderTraining(backend, { ...model, tokens }, { k, rate: 1e-3, isRecorded: true });
  const step = async (index: number): Promise<void> => {
    training.step(index).dispose();
    await backend.stream.finish();
  };
  // Called, recorded, and replayed with the state in either of its places.
  for (let index = 0; index < 4; index++) await step(index);
  const before = { ...counts };
  await step(4);
  const made = [counts.launches - before.launches, counts.passes - before.passes];
  const peakMiB = Math.round(backend.statistics().peakUsedBytes / 2 ** 20);
  expect(counts.submissions - before.submissions).toBe(1);
  training.dispose();
  await backend.dispose();
  return `${tokens}, ${k ?? 'exact'}: ${made[0]} launches, ${made[1]} passes, ${peakMiB} MiB`;
}

test('launches, passes and memory of replayed training steps', async () => {
  const counted: string[] = [];
  for (const tokens of [1024, 2048, 4096]) {
    for (const k of [128, undefined]) counted.push(await countsOf(tokens, k));
  }
  expect(counted).toMatchInlineSnapshot(`
    [
      "1024, 128: 180 launches, 1 passes, 662 MiB",
      "1024, exact: 130 launches, 3 passes, 542 MiB",
      "2048, 128: 213 launches, 1 passes, 1218 MiB",
      "2048, exact: 143 launches, 3 passes, 1078 MiB",
      "4096, 128: 269 launches, 1 passes, 2008 MiB",
      "4096, exact: 193 launches, 3 passes, 1832 MiB",
    ]
  `);
});
