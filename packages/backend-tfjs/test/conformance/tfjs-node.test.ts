import { conformanceCases, describeConformance } from '@topk-attention/conformance';
import { optional } from '@topk-attention/vitest-preset';
import { loadTfjsNode, tfjsNodeAvailability } from '@topk-attention/vitest-preset/tfjs-node';
import { describe } from 'vitest';
import { createTfjsBackend, type Tf } from '../../src/index.js';

const name = 'tfjs, tfjs-node';
const availability = tfjsNodeAvailability();

if (availability.available) {
  const tf = loadTfjsNode<Tf>();
  await describeConformance({
    name,
    // Of 200 and 1,000, which cpu and wasm have: TensorFlow starts threads for every op, and these took two thirds of the time.
    runs: Number(process.env.TOPK_FUZZ_RUNS || 50),
    calls: 200,
    createBackend: () => createTfjsBackend({ tf, engine: 'tensorflow' }),
  });
} else {
  // Each case is counted and named as skipped; it fails where tfjs-node is required.
  describe(`conformance of ${name}`, async () => {
    for (const one of await conformanceCases()) optional(one.name, availability, () => {});
  });
}
