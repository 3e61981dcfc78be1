export {
  type CausalManifest,
  causalForwardCases,
  causalForwardDifference,
  causalGoldensFolder,
  readCausalManifest,
} from './causal-lm.ts';
export { embeddedModel, goldensFolder, storiesModel } from './folders.ts';
export {
  forwardDifference,
  Goldens,
  largestDifference,
  type Manifest,
  readManifest,
  type TopKChoices,
} from './goldens.ts';
export { perplexityOf, readStories, type StoriesManifest } from './stories.ts';
