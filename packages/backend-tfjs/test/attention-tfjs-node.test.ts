import { optional } from '@topk-attention/vitest-preset';
import { loadTfjsNode, tfjsNodeAvailability } from '@topk-attention/vitest-preset/tfjs-node';
import { expect } from 'vitest';
import { tensorFlowOps } from '../src/attention/tensorflow-ops.js';
import type { Tf } from '../src/index.js';
import { attentionCases } from './attention-cases.js';

const availability = tfjsNodeAvailability();

optional('TensorFlow has the operations that the selection is made of', availability, () => {
  expect(tensorFlowOps(loadTfjsNode<Tf>())).toBeDefined();
});

if (availability.available) attentionCases(async () => loadTfjsNode<Tf>());
