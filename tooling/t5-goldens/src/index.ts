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
export { embeddedModel, goldensFolder, smallEncoder } from './folders.ts';
export {
  forwardDifference,
  Goldens,
  largestDifference,
  type Manifest,
  readManifest,
  type TopKChoices,
} from './goldens.ts';
