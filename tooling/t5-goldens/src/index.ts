export {
  type CausalManifest,
  causalForwardCases,
  causalForwardDifference,
  causalGoldensFolder,
  readCausalManifest,
} from './causal-lm.ts';
export {
  checkEmbeddings,
  checkHeads,
  checkHiddenStates,
  type EncoderCheck,
} from './encoder-checks.ts';
export {
  type EncoderGolden,
  type EncoderManifest,
  type QuestionGolden,
  readEncoderManifest,
} from './encoders.ts';
export { embeddedModel, goldensFolder, smallEncoder, storiesModel } from './folders.ts';
export { type DrawCase, type GenerationCase, readDrawCases, readGenerationCases } from './generation.ts';
export {
  forwardDifference,
  Goldens,
  largestDifference,
  type Manifest,
  readManifest,
  type TopKChoices,
} from './goldens.ts';
export { perplexityOf, readStories, type StoriesManifest } from './stories.ts';
