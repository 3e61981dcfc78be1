export { rewriteFile } from './files/rewrite-file.js';
export type { RefusalCode } from './find/block.js';
export { type BlockReport, formatReport, type LongValue, type RewriteReport } from './report.js';
export { type RewriteOptions, type RewrittenModel, rewriteModel } from './rewrite-model.js';
