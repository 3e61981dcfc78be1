import { conformanceCases, describeConformance } from '@topk-attention/conformance';
import { optional } from '@topk-attention/vitest-preset';
import { loadTfjsNode, tfjsNodeAvailability } from '@topk-attention/vitest-preset/tfjs-node';
import { describe } from 'vitest';
import { createTfjsBackend, type Tf } from '../../src/index.js';

const name = 'tfjs, tfjs-node';
const availability = tfjsNodeAvailability();

if (availability.available) {
  const tf = loadTfjsNode<Tf>();
  await describeConformance({ name, createBackend: () => createTfjsBackend({ tf, engine: 'tensorflow' }) });
} else {
  // Each case is counted and named as skipped; it fails where tfjs-node is required.
  describe(`conformance of ${name}`, async () => {
    for (const one of await conformanceCases()) optional(one.name, availability, () => {});
  });
}
