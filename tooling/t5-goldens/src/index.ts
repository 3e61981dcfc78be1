export {
  type CausalManifest,
  causalForwardCases,
  causalForwardDifference,
  causalGoldensFolder,
  readCausalManifest,
} from './causal-lm.ts';
export { embeddedModel, goldensFolder } from './folders.ts';
export {
  forwardDifference,
  Goldens,
  largestDifference,
  type Manifest,
  readManifest,
  type TopKChoices,
} from './goldens.ts';
