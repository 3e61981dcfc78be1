export type { RefusalCode } from './find/block.js';
export { type BlockReport, formatReport, type LongValue, type RewriteReport } from './report.js';
export { rewriteFile } from './rewrite-file.js';
export { type RewriteOptions, type RewrittenModel, rewriteModel } from './rewrite-model.js';
