import type { LinearAttentionInputs, LinearAttentionRequest } from '@topk-attention/core/backend';
import type { Span } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../runtime/view.js';
import { kernelFamily, optional, read, write } from '../wgsl/define-kernel.js';
import { forEachElement } from '../wgsl/text.js';
import { columnsOf, groupsOf } from './sizes.js';

interface Variant {
  readonly lengths: boolean;
  readonly mask: boolean;
}

/** Copies rows of keys or values, of hidden keys as zeros: whatever those hold must not meet a factor of 0. */
const copyKernel = kernelFamily('linear-attention keys', ({ lengths, mask }: Variant) => ({
  uniforms: {
    count: 'u32',
    width: 'u32',
    columns: 'u32',
    keys: 'u32',
    key_heads: 'u32',
    mask_stride: 'u32',
  },
  buffers: {
    x: read('f32'),
    lengths: optional(lengths, read('i32')),
    mask: optional(mask, read('u32')),
    out: write('f32'),
  },
  workgroup: 256,
  source: () =>
    forEachElement(`let row = at / params.columns;
  let column = at % params.columns;
  let key = row % params.keys;
  let batch = row / params.keys / params.key_heads;
  var visible = true;
  ${lengths ? 'visible = visible && i32(key) < lengths[batch];' : ''}
  ${mask ? 'visible = visible && mask[batch * params.mask_stride + key] != 0u;' : ''}
  if (!visible) { out[at] = 0.0; }
  else if (column < params.width) { out[at] = x[row * params.width + column]; }
  else { out[at] = 1.0; }`),
}));

/** Keys as the other kernels read them. */
export interface PreparedKeys {
  /** [N, Lk, F]; zeros for hidden keys. */
  readonly features: Span;
  /** [N, Lk, Dv + 1]: values and ones; zeros for hidden keys. */
  readonly values: Span;
  release(): void;
}

export const hidesKeys = ({ keyLengths, keyMask }: LinearAttentionRequest): boolean =>
  keyLengths || keyMask !== undefined;

/** Bytes of what `recordKeys` makes. */
export function preparedBytes(request: LinearAttentionRequest): number {
  const rows = groupsOf(request) * request.keyLength;
  return 4 * rows * (columnsOf(request) + (hidesKeys(request) ? request.features : 0));
}

export function recordKeys(
  stream: Stream,
  request: LinearAttentionRequest,
  { keyFeatures, value, keyLengths, keyMask }: LinearAttentionInputs<View>,
): PreparedKeys {
  const { keyLength, keyHeads, features, valueDim } = request;
  const rows = groupsOf(request) * keyLength;
  const copy = (x: View, width: number, columns: number): Span => {
    const out = stream.scratch(4 * rows * columns);
    copyKernel({ lengths: keyLengths !== undefined, mask: keyMask !== undefined }).launch(stream, {
      uniforms: {
        ...{ count: rows * columns, width, columns, keys: keyLength, key_heads: keyHeads },
        mask_stride: keyMask === undefined || keyMask.shape[0] === 1 ? 0 : keyLength,
      },
      buffers: { x: x.span, lengths: keyLengths?.span, mask: keyMask?.span, out },
      workgroups: { invocations: rows * columns },
    });
    return out;
  };
  const copied = hidesKeys(request) ? copy(keyFeatures, features, features) : undefined;
  const values = copy(value, valueDim, columnsOf(request));
  return {
    features: copied ?? keyFeatures.span,
    values,
    release() {
      if (copied !== undefined) stream.release(copied);
      stream.release(values);
    },
  };
}
