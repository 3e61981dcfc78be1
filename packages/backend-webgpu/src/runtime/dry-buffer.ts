/// <reference types="@webgpu/types" />

/** A buffer without storage, of which a dry stream uses identity and size. */
export class DryBuffer implements GPUBuffer {
  readonly __brand = 'GPUBuffer' as const;
  readonly size: number;
  readonly usage: number;
  readonly mapState = 'unmapped' as const;
  label = '';

  constructor({ size, usage }: GPUBufferDescriptor) {
    this.size = size;
    this.usage = usage;
  }

  mapAsync(): Promise<undefined> {
    return Promise.reject(new TypeError('a dry buffer is not mapped'));
  }

  getMappedRange(): ArrayBuffer {
    throw new TypeError('a dry buffer is not mapped');
  }

  unmap(): undefined {}

  destroy(): undefined {}
}
