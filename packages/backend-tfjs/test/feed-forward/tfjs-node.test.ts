import { optional } from '@topk-attention/vitest-preset';
import { loadTfjsNode, tfjsNodeAvailability } from '@topk-attention/vitest-preset/tfjs-node';
import type { Tf } from '../../src/index.js';
import { testFeedForward } from '../support/feed-forward-cases.js';

const availability = tfjsNodeAvailability();

if (availability.available) testFeedForward(loadTfjsNode<Tf>(), 'tensorflow');
else
  optional('the fused feed-forward on tensorflow gives what the composed one gives', availability, () => {});
