export { type AttentionFunctionOptions, attentionFunctionOf } from './attention-function.js';
export { type CausalLunaOptions, causalLuna } from './causal-luna.js';
export { type ConvLunaBlockOptions, convLunaBlock } from './conv-luna.js';
export { type EntmaxOptions, entmaxAttention } from './entmax.js';
export { entmax15 } from './entmax15.js';
export { type FastmaxOptions, fastmax } from './fastmax.js';
export { type GraphCounts, type GraphQuality, graphQuality } from './graph-quality.js';
export { type LunaAttentionOptions, type LunaBlockOptions, lunaAttention, lunaBlock } from './luna.js';
export { type InverseCheck, type NewtonOptions, newtonInverse, requireInverse } from './newton-inverse.js';
export { type RelativeKernelOptions, relativeKernel } from './relative.js';
export { type RfaOptions, rfa } from './rfa.js';
export { type SbmOptions, sbm } from './sbm.js';
export { type SigmoidOptions, sigmoidAttention } from './sigmoid.js';
export { type SigmoidBlockOptions, sigmoidBlock } from './sigmoid-block.js';
export { type SimpleTronOptions, simpleTron } from './simpletron.js';
export { type SoftOptions, soft } from './soft.js';
export { type Sparsefinder, type SparsefinderOptions, sparsefinder } from './sparsefinder.js';
export { type TrainableKernelOptions, trainableKernel } from './trainable-kernel.js';
export {
  type MemoryEncoder,
  type MemoryEncoderOptions,
  memoryEncoder,
  type TwoStreamBlock,
  type TwoStreamInputs,
  type TwoStreams,
} from './two-streams.js';
