import { conformanceCases, describeConformance } from '@topk-attention/conformance';
import { optional } from '@topk-attention/vitest-preset';
import { loadTfjsNode, tfjsNodeAvailability } from '@topk-attention/vitest-preset/tfjs-node';
import { describe } from 'vitest';
import { createTfjsBackend, type Tf } from '../../src/index.js';

// What this package does on a CUDA device, computed by TensorFlow on the CPU: the flag by which tfjs-node tells its
// device chooses among our own ways. Properties and planning are left to the other runs: they take half of the time.
const name = 'tfjs, tfjs-node, the ways for CUDA';
const cases = (await conformanceCases()).filter(
  ({ group }) => group !== 'properties' && group !== 'planning',
);
const availability = tfjsNodeAvailability();

if (availability.available) {
  const tf = loadTfjsNode<Tf>();
  Object.assign(tf.backend(), { isUsingGpuDevice: true });
  await describeConformance({
    name,
    cases,
    createBackend: () => createTfjsBackend({ tf, engine: 'tensorflow' }),
  });
} else {
  describe(`conformance of ${name}`, () => {
    for (const one of cases) optional(one.name, availability, () => {});
  });
}
