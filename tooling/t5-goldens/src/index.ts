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
export { embeddedModel, goldensFolder } from './folders.ts';
export { type GenerationCase, readGenerationCases } from './generation.ts';
export {
  forwardDifference,
  Goldens,
  largestDifference,
  type Manifest,
  readManifest,
  type TopKChoices,
} from './goldens.ts';
