import { embeddedModel, smallEncoder, storiesModel } from '@topk-attention/t5-goldens';
import { testExamples } from '@topk-attention/vitest-preset';

process.env.T5_FOLDER = embeddedModel;
process.env.ENCODER_FOLDER = smallEncoder;
process.env.LM_FOLDER = storiesModel;

testExamples(new URL('../README.md', import.meta.url));
