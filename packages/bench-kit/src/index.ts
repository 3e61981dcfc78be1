export { benchTraining } from './bench-training.js';
export {
  type EncoderBatch,
  type EncoderSizes,
  encoderBatch,
  encoderLoss,
  encoderParameters,
} from './encoder.js';
export { apart, type TorchLine, type TorchRun, torchLines } from './torch.js';
export { type EncoderTraining, encoderTraining, type TrainingOptions } from './training-run.js';
