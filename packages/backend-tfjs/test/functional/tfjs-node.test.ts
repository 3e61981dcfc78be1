import { optional } from '@topk-attention/vitest-preset';
import { loadTfjsNode, tfjsNodeAvailability } from '@topk-attention/vitest-preset/tfjs-node';
import { expect } from 'vitest';
import type { Tf } from '../../src/index.js';
import { topKAttention } from '../../src/layers-entry.js';
import { describeFunctional } from '../support/functional-cases.js';

const availability = tfjsNodeAvailability();

optional('functions on tensors of tfjs-node', availability, () => {
  const tf = loadTfjsNode<Tf>();
  const x = tf.ones([1, 1, 3, 2]);
  expect([...topKAttention(tf, x, x, x, { k: 1 }).dataSync()]).toEqual([1, 1, 1, 1, 1, 1]);
});

if (availability.available) describeFunctional(loadTfjsNode<Tf>());
