import type { AttentionRequest } from '@topk-attention/core/backend';
import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import type { ForwardViews } from '../shared/forward-path.js';
import { bucketsOfPositions } from '../shared/relative-bias.js';

/**
 * Small inputs in one buffer, because kernels have few bindings: the key lengths [B], the bucket of every relative
 * position from -reach to reach, the relative table [buckets, Hq].
 */
export interface Tables {
  readonly span: Span;
  readonly bucketsAt: number;
  readonly tableAt: number;
}

/** Undefined where no variant of the request reads it. The caller releases `span`. */
export function recordTables(
  stream: Stream,
  request: AttentionRequest,
  { keyLengths, relativeTable }: ForwardViews,
): Tables | undefined {
  const { relativeBias, batch, queryHeads } = request;
  const table = relativeBias === undefined ? undefined : relativeTable;
  if (keyLengths === undefined && (table === undefined || relativeBias === undefined)) return undefined;
  const buckets = bucketsOfPositions(request);
  const bucketsAt = keyLengths === undefined ? 0 : batch;
  const tableAt = bucketsAt + buckets.length;
  const tableWords = relativeBias === undefined ? 0 : relativeBias.buckets * queryHeads;
  const span = stream.scratch(4 * (tableAt + tableWords));
  const part = (at: number, words: number): Span => ({
    buffer: span.buffer,
    offset: span.offset + 4 * at,
    size: 4 * words,
  });
  if (keyLengths !== undefined) stream.copy({ ...keyLengths.span, size: 4 * batch }, part(0, batch));
  if (table !== undefined) {
    stream.write(part(bucketsAt, buckets.length), new Uint8Array(buckets.buffer));
    stream.copy({ ...table.span, size: 4 * tableWords }, part(tableAt, tableWords));
  }
  return { span, bucketsAt, tableAt };
}
