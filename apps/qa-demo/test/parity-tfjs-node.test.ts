import type { Tf } from '@topk-attention/tfjs';
import { loadTfjsNode, tfjsNodeAvailability } from '@topk-attention/vitest-preset/tfjs-node';
import { testT5 } from './tfjs-parity.js';

testT5('tensorflow', tfjsNodeAvailability(), async () => loadTfjsNode<Tf>(), 200);
