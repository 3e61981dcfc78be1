import type { DType, Shape } from '@topk-attention/core';
import type { BackendTensor } from '@topk-attention/core/backend';
import type { Span } from './runtime/kernel.js';
import type { View } from './runtime/view.js';

/**
 * 'own': goes back to the pool; 'constant': the backend keeps it and others may view it; 'borrowed': the caller's;
 * 'exported': was ours, now the caller's.
 */
export type Owner = 'own' | 'constant' | 'borrowed' | 'exported';

/** A buffer, or part of one, with the number of tensors that view it. */
export class Storage {
  readonly span: Span;
  /** Bytes that count as live while a tensor views this; 0 for buffers that the caller passed in. */
  readonly bytes: number;
  owner: Owner;
  views = 0;
  /** How many of the views only keep the storage, and do not mind that its content is replaced. */
  keepers = 0;

  constructor(span: Span, bytes: number, owner: Owner = 'own') {
    this.span = span;
    this.bytes = bytes;
    this.owner = owner;
  }

  /** Whether the only tensor that views it may be overwritten. */
  get isWritable(): boolean {
    return this.owner === 'own' && this.views - this.keepers === 1;
  }
}

/** A row-major tensor in (part of) a GPU buffer; see `View` for how each dtype is stored. */
export class WebGpuTensor implements BackendTensor, View {
  readonly storage: Storage;
  readonly shape: Shape;
  readonly dtype: DType;
  /** All of the storage, or the window of it that is this tensor's. */
  readonly span: Span;
  isReleased = false;

  constructor(storage: Storage, shape: Shape, dtype: DType, span: Span = storage.span) {
    this.storage = storage;
    this.shape = shape;
    this.dtype = dtype;
    this.span = span;
  }

  /** Whether it shares its storage with tensors in other places. */
  get isWindow(): boolean {
    return this.span.offset !== this.storage.span.offset || this.span.size !== this.storage.span.size;
  }
}

/** A tensor's place on the device. */
export interface GpuBufferTensor {
  readonly buffer: GPUBuffer;
  /** In bytes. */
  readonly offset: number;
  /** In bytes. */
  readonly size: number;
  readonly shape: Shape;
  readonly dtype: DType;
}
