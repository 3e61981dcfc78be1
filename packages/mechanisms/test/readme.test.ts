import { testExamples } from '@topk-attention/vitest-preset';

testExamples(new URL('../README.md', import.meta.url));
