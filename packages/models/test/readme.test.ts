import { embeddedModel } from '@topk-attention/t5-goldens';
import { testExamples } from '@topk-attention/vitest-preset';

process.env.T5_FOLDER = embeddedModel;

testExamples(new URL('../README.md', import.meta.url));
