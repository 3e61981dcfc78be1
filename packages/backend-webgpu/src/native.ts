import {
  aNumber,
  anArray,
  type DType,
  type OptionKinds,
  oneOf,
  readOptions,
  required,
  type Shape,
  sizeOf,
  type Tensor,
  TopKError,
} from '@topk-attention/core';
import { fromBackendTensor } from '@topk-attention/core/backend';
import { WebGpuBackend } from './backend.js';
import { BUFFER_USAGE } from './runtime/usage.js';
import { storageBytes } from './runtime/view.js';
import { type GpuBufferTensor, WebGpuTensor } from './tensor.js';

/** The part of a GPUBuffer that holds a tensor. */
export interface GpuBufferRange {
  readonly shape: Shape;
  /** How elements are stored: see `View`. Default 'f32'. */
  readonly dtype?: DType;
  /** In bytes, a multiple of 256. Default 0. */
  readonly offset?: number;
  /** In bytes. Default: what shape and dtype need. */
  readonly size?: number;
}

const rangeKinds: OptionKinds<GpuBufferRange> = {
  shape: required(anArray()),
  dtype: oneOf('f32', 'f16', 'i32', 'bool'),
  offset: aNumber,
  size: aNumber,
};

const ALIGNMENT = 256;

/**
 * A tensor in (part of) a GPUBuffer that belongs to the caller, without a copy. It is borrowed: never written to,
 * never destroyed. f32 and i32 are stored as they are, bool as u32 of 0 and 1, f16 as bits, two to a u32. The buffer
 * must belong to the backend's device, have the usages STORAGE and COPY_SRC, and stay unchanged until the work that
 * reads it is submitted (`evaluate` waits for that).
 *
 * @throws TopKError INVALID_OPTION for an offset that is not a multiple of 256, a range outside the buffer or too small
 * for the shape, or a missing usage.
 */
export function fromGpuBuffer(backend: WebGpuBackend, buffer: GPUBuffer, range: GpuBufferRange): Tensor {
  const { shape, dtype = 'f32', offset = 0, size: given } = readOptions('fromGpuBuffer', range, rangeKinds);
  const bytes = Math.max(4, storageBytes(shape, dtype));
  const size = given ?? bytes;
  const invalid = (what: string, expected: string, got: string, fix: string): TopKError =>
    new TopKError('INVALID_OPTION', `fromGpuBuffer: ${what}`, { expected, got, fix });
  if (offset % ALIGNMENT !== 0 || offset < 0) {
    throw invalid(
      'a tensor cannot start at that offset',
      `an offset that is a multiple of ${ALIGNMENT} bytes`,
      String(offset),
      'Copy the range to such an offset with copyBufferToBuffer, or wrap a larger aligned range and slice it',
    );
  }
  if (size < bytes || offset + size > buffer.size) {
    throw invalid(
      `no room for ${sizeOf(shape)} elements of ${dtype}`,
      `${bytes} bytes from offset ${offset}`,
      `a range of ${size} bytes in a buffer of ${buffer.size}`,
      'Check shape, dtype and offset; f16 is padded to whole 32-bit words, bool takes 4 bytes',
    );
  }
  const needed = BUFFER_USAGE.STORAGE | BUFFER_USAGE.COPY_SRC;
  if ((buffer.usage & needed) !== needed) {
    throw invalid(
      'the buffer lacks a usage',
      'GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC',
      `0x${buffer.usage.toString(16)}`,
      'Create the buffer with both',
    );
  }
  return fromBackendTensor(backend, backend.borrow({ buffer, offset, size: bytes }, shape, dtype));
}

/**
 * The buffer behind a tensor, with all work on it submitted: whatever the caller submits to the device's queue from now
 * on comes after it. It is not copied, except where tensors share a buffer or a recorded step uses it. It stays valid when the tensor is disposed of, and is then the caller's
 * to destroy; until then it must not be written to. For a tensor from `fromGpuBuffer`, this is the caller's own
 * buffer.
 *
 * @throws TopKError MIXED_BACKENDS for a tensor of another backend; DISPOSED; the engine's error when computing it failed.
 */
export async function toGpuBuffer(tensor: Tensor): Promise<GpuBufferTensor> {
  const { backend, handle } = tensor;
  if (!(backend instanceof WebGpuBackend) || !(handle instanceof WebGpuTensor)) {
    throw new TopKError('MIXED_BACKENDS', 'toGpuBuffer: not a tensor of this backend', {
      expected: 'webgpu',
      got: backend.name,
      fix: 'Read the values with data() and write them to a buffer',
    });
  }
  return backend.export(handle);
}
