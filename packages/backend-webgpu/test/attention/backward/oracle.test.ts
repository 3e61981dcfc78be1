import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { expect } from 'vitest';
import { difference, problem, referenceGradients, roles, sharedMachine } from '../../support/backward.js';
import { backwardCases, toleranceOf } from '../../support/backward-cases.js';

const cases: typeof backwardCases = [
  ...backwardCases,
  ['k = 1', { k: 1 }],
  ['k = all keys', { k: 20 }],
  ['head dim 256, value dim 16', { headDim: 256, valueDim: 16 }],
  ['head dim 80, value dim 130', { headDim: 80, valueDim: 130 }],
];

for (const [name, partial] of cases) {
  optional(`gradients of the reference: ${name}`, softwareGpuAvailability(), async () => {
    const machine = await sharedMachine();
    const made = problem(partial);
    const expected = referenceGradients(made);
    const whole = await machine.gradients(made);
    for (const role of roles) {
      expect(difference(whole[role], expected[role]), role).toBeLessThan(toleranceOf(made.request, role));
    }
    // In parts: heads one by one and queries a few at a time.
    const parts = await machine.gradients(made, {}, 7);
    for (const role of roles) {
      expect(difference(parts[role], expected[role]), `${role} in parts`).toBeLessThan(
        toleranceOf(made.request, role),
      );
    }
  });
}
