import { optional } from '@topk-attention/vitest-preset';
import { loadTfjsNode, tfjsNodeAvailability } from '@topk-attention/vitest-preset/tfjs-node';
import { expect } from 'vitest';
import { engineOf, type Tf } from '../../src/index.js';
import { tensorFlowOps } from '../../src/ops/tensorflow-ops.js';
import { attentionCases } from '../support/attention-cases.js';

const availability = tfjsNodeAvailability();

optional('TensorFlow has the operations that the selection is made of', availability, () => {
  expect(tensorFlowOps(engineOf(loadTfjsNode<Tf>()))).toBeDefined();
});

if (availability.available) attentionCases(async () => loadTfjsNode<Tf>());
