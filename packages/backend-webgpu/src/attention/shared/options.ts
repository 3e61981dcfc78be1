import { sizeOf } from '@topk-attention/core';
import type { AttentionRequest } from '@topk-attention/core/backend';
import type { Span } from '../../runtime/kernel.js';
import { type Buffer, optional, read } from '../../wgsl/define-kernel.js';
import type { ForwardViews } from './forward-path.js';
import { vectorBytes } from './relative-bias.js';

/** Which tensors of the options a kernel reads; it does not read those left out. */
export interface OptionFlags {
  readonly keyLengths?: boolean;
  readonly mask?: boolean;
  readonly bias?: boolean;
  /** As vectors; see `recordRelativeVectors`. */
  readonly relativeBias?: boolean;
}

type OptionName = 'key_lengths' | 'mask' | 'bias' | 'relative';

/** Their buffers, for `defineKernel`. */
export function optionBuffers({
  keyLengths = false,
  mask = false,
  bias = false,
  relativeBias = false,
}: OptionFlags): Readonly<Record<OptionName, Buffer<false, true>>> {
  return {
    key_lengths: optional(keyLengths, read('i32')),
    mask: optional(mask, read('u32')),
    bias: optional(bias, read('f32')),
    relative: optional(relativeBias, read('f32')),
  };
}

/** What a launch binds to them. */
export type OptionSpans = { readonly [Name in OptionName]?: Span | undefined };

/** The tensors of the options that a request has. */
export function optionsOf(
  { keyLengths, mask, bias }: Pick<ForwardViews, 'keyLengths' | 'mask' | 'bias'>,
  relative: Span | undefined,
): OptionSpans {
  return { key_lengths: keyLengths?.span, mask: mask?.span, bias: bias?.span, relative };
}

/** Options that a kernel cannot bind whole. */
export function optionRefusals(
  request: AttentionRequest,
  { bindingBytes }: { readonly bindingBytes: number },
): string[] {
  const { mask, bias } = request;
  const bytes = {
    mask: mask && 4 * sizeOf(mask),
    bias: bias && 4 * sizeOf(bias),
    'relative bias': vectorBytes(request),
  };
  return Object.entries(bytes).flatMap(([name, each = 0]) =>
    each > bindingBytes ? [`the ${name} exceeds a binding of ${bindingBytes} bytes`] : [],
  );
}
