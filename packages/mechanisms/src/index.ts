export { type FastmaxOptions, fastmax } from './fastmax.js';
export { type RfaOptions, rfa } from './rfa.js';
export { type SigmoidOptions, sigmoidAttention } from './sigmoid.js';
export { type SimpleTronOptions, simpleTron } from './simpletron.js';
export { type TrainableKernelOptions, trainableKernel } from './trainable-kernel.js';
