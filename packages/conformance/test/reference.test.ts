import { createReferenceBackend } from '@topk-attention/core/reference';
import { describeConformance } from '../src/index.js';

await describeConformance({ name: 'reference, fused', createBackend: () => createReferenceBackend() });
await describeConformance({
  name: 'reference, composed',
  createBackend: () => createReferenceBackend({ fused: false }),
});
