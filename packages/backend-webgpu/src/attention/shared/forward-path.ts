import type { AttentionInputs, AttentionOutputs, AttentionRequest } from '@topk-attention/core/backend';
import type { DeviceFacts } from '../../runtime/facts.js';
import type { Stream } from '../../runtime/stream.js';
import type { View } from '../../runtime/view.js';

/** Tensors of one attention call: inputs and outputs by role. */
export interface ForwardViews extends AttentionInputs<View>, AttentionOutputs<View> {}

/** One way to compute attention. The first path that refuses nothing runs. */
export interface ForwardPath {
  readonly name: string;
  /** Reasons why a request is not taken; pure and cheap. */
  refuses(request: AttentionRequest, facts: DeviceFacts): readonly string[];
  /** The variant that would run and why it was chosen, for `explain()`. */
  describe?(request: AttentionRequest, facts: DeviceFacts): string;
  /** The query chunk it runs best with; default: from the scratch that the limits aim at. */
  preferredChunk?(request: AttentionRequest): number;
  /** Transient bytes for a chunk of that many queries. */
  scratchBytes(request: AttentionRequest, chunk: number, facts: DeviceFacts): number;
  /** The largest single transient buffer of such a chunk. */
  largestBytes(request: AttentionRequest, chunk: number, facts: DeviceFacts): number;
  /** Records the whole call, chunk by chunk; flushes between chunks so that no submission runs long. */
  record(stream: Stream, request: AttentionRequest, views: ForwardViews, chunk: number): void;
}
