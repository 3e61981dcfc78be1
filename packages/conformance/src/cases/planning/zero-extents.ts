import { explain, explainFeedForward } from '@topk-attention/core';
import type { ConformanceCase } from '../../harness/case.js';
import { check } from '../../harness/support/assert.js';

export const zeroExtentPlanCase: ConformanceCase = {
  name: 'zero extents: plans of a batch of 0 and of no tokens',
  group: 'planning',
  run({ backend }) {
    const shapes = { q: [0, 4, 3, 5], k: [0, 2, 6, 5], v: [0, 2, 6, 7] };
    for (const training of [false, true]) {
      const attention = explain(backend, shapes, { k: 2, training });
      const sizes = { tokens: 0, inputDim: 5, hidden: 8, outputDim: 2 };
      const layer = explainFeedForward(backend, sizes, { k: 2, training });
      for (const { plan } of [attention, layer]) {
        check(plan.bytes.output === 0 && plan.bytes.saved === 0, 'no output and no lists');
        check(Number.isFinite(plan.bytes.total) && plan.bytes.total >= 0, `${plan.bytes.total} bytes in all`);
      }
    }
  },
};
