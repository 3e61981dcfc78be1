import type { Encoding } from './encoding.js';
import type { Kernel, Launch, Span } from './kernel.js';

/** A `Recording` as a stream sees it. */
interface Replayable {
  readonly kernels: readonly Kernel[];
  encode(encoding: Encoding, seeds: readonly number[], isExchanged: boolean, results: readonly Span[]): void;
}

/** A `Segment` as a stream sees it. */
interface Encodable {
  readonly kernels: readonly Kernel[];
  encode(encoding: Encoding, spans: readonly Span[]): void;
}

/** Work of a stream, in the order it was requested. */
export type Step =
  | { readonly kind: 'launch'; readonly launch: Launch }
  | { readonly kind: 'write'; readonly to: Span; readonly data: Uint8Array }
  | { readonly kind: 'copy'; readonly from: Span; readonly to: Span }
  | { readonly kind: 'clear'; readonly span: Span }
  | { readonly kind: 'destroy'; readonly buffer: GPUBuffer }
  | {
      readonly kind: 'replay';
      readonly recording: Replayable;
      readonly seeds: readonly number[];
      readonly isExchanged: boolean;
      readonly results: readonly Span[];
    }
  | { readonly kind: 'segment'; readonly segment: Encodable; readonly spans: readonly Span[] };
