export type { LearnedAxes } from './extents/lengths.js';
export type { ModelBytes } from './files/model-bytes.js';
export type { RefusalCode } from './find/block.js';
export { type LearnOptions, learnAxes } from './learn-axes.js';
export type { RewriteOptions } from './options.js';
export {
  type BlockReport,
  type Contrib,
  type FeedForwardReport,
  formatReport,
  type LongValue,
  type RewriteReport,
} from './report.js';
export { rewriteFile } from './rewrite-file.js';
export { type RewrittenModel, rewriteModel } from './rewrite-model.js';
