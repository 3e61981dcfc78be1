import type { Launch, Span } from './kernel.js';
import type { Recording } from './recording.js';

/** Work of a stream, in the order it was asked for. */
export type Step =
  | { readonly kind: 'launch'; readonly launch: Launch }
  | { readonly kind: 'write'; readonly to: Span; readonly data: Uint8Array }
  | { readonly kind: 'copy'; readonly from: Span; readonly to: Span }
  | { readonly kind: 'clear'; readonly span: Span }
  | { readonly kind: 'destroy'; readonly buffer: GPUBuffer }
  | { readonly kind: 'replay'; readonly recording: Recording; readonly seeds: readonly number[] };
