import { fileURLToPath } from 'node:url';
import { testExamples } from '@topk-attention/vitest-preset';

// The model that the repository ships.
process.env.T5_FOLDER = fileURLToPath(new URL('../../../apps/qa-demo/model', import.meta.url));

testExamples(new URL('../README.md', import.meta.url));
