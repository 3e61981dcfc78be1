import type { AttentionRequest } from '@topk-attention/core/backend';
import type { Span } from '../../runtime/kernel.js';
import type { Part } from '../shared/geometry.js';

/** dS of the rows of a part. */
export interface Slopes {
  readonly request: AttentionRequest;
  readonly part: Part;
  readonly span: Span;
  /** Stride of the rows, in groups of four numbers. */
  readonly fours: number;
}
