export { embeddedModel, goldensFolder } from './folders.ts';
export { type DrawCase, type GenerationCase, readDrawCases, readGenerationCases } from './generation.ts';
export {
  forwardDifference,
  Goldens,
  largestDifference,
  type Manifest,
  readManifest,
  type TopKChoices,
} from './goldens.ts';
