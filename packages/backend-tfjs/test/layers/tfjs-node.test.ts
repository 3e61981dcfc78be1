import { optional } from '@topk-attention/vitest-preset';
import { loadTfjsNode, tfjsNodeAvailability } from '@topk-attention/vitest-preset/tfjs-node';
import { expect } from 'vitest';
import { topKLayers } from '../../src/layers-entry.js';
import { describeLayers } from '../support/layers-cases.js';
import type { WholeTf } from '../support/layers-tf.js';

const availability = tfjsNodeAvailability();

optional('tfjs-node is a tf with layers, as it comes', availability, () => {
  const tf = loadTfjsNode<WholeTf>();
  expect(new (topKLayers(tf).TopKFeedForward)({ hiddenUnits: 4, k: 1 })).toBeInstanceOf(tf.layers.Layer);
});

if (availability.available) describeLayers(loadTfjsNode<WholeTf>());
