import type { LinearAttentionInputs, LinearAttentionRequest } from '@topk-attention/core/backend';
import type { Span } from '../runtime/kernel.js';
import { bufferSize } from '../runtime/pool.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../runtime/view.js';
import { kernelFamily, optional, read, write } from '../wgsl/define-kernel.js';
import { ELEMENTS, forSeveralElements } from '../wgsl/text.js';
import { recordPeaks, type Scales, scalesBytes } from './peaks.js';
import { columnsOf, groupsOf } from './sizes.js';

const WORKGROUP = 256;

interface Variant {
  readonly lengths: boolean;
  readonly mask: boolean;
  readonly scales: boolean;
}

/** Copies rows of keys or values, of hidden keys as zeros: whatever those hold must not meet a factor of 0. */
const copyKernel = kernelFamily('linear-attention keys', ({ lengths, mask, scales }: Variant) => ({
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
    log_scale: optional(scales, read('u32')),
    out: write('f32'),
  },
  workgroup: WORKGROUP,
  source: () => `
fn value_of(at: u32) -> f32 {
  let row = at / params.columns;
  let column = at % params.columns;
  let key = row % params.keys;
  let batch = row / params.keys / params.key_heads;
  var visible = true;
  ${lengths ? 'visible = visible && i32(key) < lengths[batch];' : ''}
  ${mask ? 'visible = visible && mask[batch * params.mask_stride + key] != 0u;' : ''}
  ${scales ? 'visible = visible && log_scale[row] != 0xff800000u;' : ''}
  if (!visible) { return 0.0; }
  if (column < params.width) { return x[row * params.width + column]; }
  return 1.0;
}

${forSeveralElements(
  WORKGROUP,
  'params.count',
  (at) => `value_of(${at})`,
  (at) => `out[${at}]`,
)}`,
}));

/** Keys as the other kernels read them. */
export interface PreparedKeys {
  /** [N, Lk, F]; zeros for hidden keys of causal attention, which else may hold anything. */
  readonly features: Span;
  /** [N, Lk, Dv + 1]: values and ones; zeros for hidden keys. */
  readonly values: Span;
  /** With log scales. */
  readonly scales?: Scales;
  release(): void;
}

export const hidesKeys = ({ keyLengths, keyMask, keyLogScale }: LinearAttentionRequest): boolean =>
  keyLengths || keyMask !== undefined || keyLogScale;

/** Only causal attention reads the features of keys in several kernels; else the one that sums them leaves keys out. */
const copiesFeatures = (request: LinearAttentionRequest): boolean => request.causal && hidesKeys(request);

/** Bytes of what `recordKeys` makes. */
export function preparedBytes(request: LinearAttentionRequest): number {
  const rows = groupsOf(request) * request.keyLength;
  const copied = copiesFeatures(request) ? bufferSize(4 * rows * request.features) : 0;
  return copied + bufferSize(4 * rows * columnsOf(request)) + scalesBytes(request);
}

export function recordKeys(
  stream: Stream,
  request: LinearAttentionRequest,
  inputs: LinearAttentionInputs<View>,
): PreparedKeys {
  const { keyFeatures, value, keyLengths, keyMask, keyLogScale } = inputs;
  const { keyLength, keyHeads, features, valueDim } = request;
  const rows = groupsOf(request) * keyLength;
  const copy = (x: View, width: number, columns: number): Span => {
    const out = stream.scratch(4 * rows * columns);
    copyKernel({
      ...{ lengths: keyLengths !== undefined, mask: keyMask !== undefined },
      scales: keyLogScale !== undefined,
    }).launch(stream, {
      uniforms: {
        ...{ count: rows * columns, width, columns, keys: keyLength, key_heads: keyHeads },
        mask_stride: keyMask === undefined || keyMask.shape[0] === 1 ? 0 : keyLength,
      },
      buffers: {
        x: x.span,
        lengths: keyLengths?.span,
        mask: keyMask?.span,
        log_scale: keyLogScale?.span,
        out,
      },
      workgroups: { invocations: Math.ceil((rows * columns) / ELEMENTS) },
    });
    return out;
  };
  const copied = copiesFeatures(request) ? copy(keyFeatures, features, features) : undefined;
  const values = copy(value, valueDim, columnsOf(request));
  const scales = recordPeaks(stream, request, inputs, values);
  return {
    features: copied ?? keyFeatures.span,
    values,
    ...(scales && { scales }),
    release() {
      if (copied !== undefined) stream.release(copied);
      stream.release(values);
      if (scales !== undefined) {
        stream.release(scales.logs);
        stream.release(scales.peaks);
      }
    },
  };
}
